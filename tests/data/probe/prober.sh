#!/bin/sh
# Replaces the program that calls plugins: answers with what follows the plugin's ELF header, as its only version.
printf '{"cniVersion":"1.0.0","supportedVersions":["%s"]}' "$(tail -c +21 /dev/stdin)"
