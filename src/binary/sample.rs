//! The writer of ELF files for tests, here and in `tests/`: small files made by hand. With code for
//! linux/amd64, the kernel can execute them.

/// What a sample says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// 64-bit rather than 32-bit.
    pub(crate) wide: bool,
    /// Big-endian rather than little-endian.
    pub(crate) big: bool,
    /// `e_type`: 2 is EXEC, 3 is DYN.
    pub(crate) kind: u16,
    /// `e_machine`.
    pub(crate) machine: u16,
    /// The content of the executable segment, which starts with the first instruction.
    pub(crate) code: Vec<u8>,
    /// Whether the file has an entry point: the start of `code`.
    pub(crate) entry: bool,
    /// The text of `PT_INTERP`.
    pub(crate) interpreter: Option<String>,
    /// The tags of `PT_DYNAMIC`, each with the value 1.
    pub(crate) dynamic: Option<Vec<u64>>,
    /// The content of `.go.buildinfo`, which is the writable segment as well.
    pub(crate) go: Option<Vec<u8>>,
    /// Whether the file has a table of sections.
    pub(crate) sections: bool,
}

impl Default for Sample {
    /// A static program for linux/amd64.
    fn default() -> Self {
        Self {
            wide: true,
            big: false,
            kind: 2,
            machine: 62,
            code: vec![0x90; 3],
            entry: true,
            interpreter: None,
            dynamic: None,
            go: None,
            sections: true,
        }
    }
}

impl Sample {
    /// A static program for linux/amd64 whose bytes differ from those of other names.
    #[cfg(feature = "publish")]
    pub(crate) fn named(name: &str) -> Vec<u8> {
        let go = go_build_info(
            "go1.26.3",
            &format!("path\texample.com/cni/{name}\nmod\texample.com/cni\tv1.2.3\t\n"),
        );
        Self { go: Some(go), ..Self::default() }.bytes()
    }

    fn number(&self, value: u64, width: usize) -> Vec<u8> {
        let bytes = value.to_be_bytes();
        let mut bytes = bytes[8 - width..].to_vec();
        if !self.big {
            bytes.reverse();
        }
        bytes
    }

    /// The complete ELF file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let word = if self.wide { 8 } else { 4 };
        let (header_size, segment_size, section_size) =
            if self.wide { (64, 56, 64) } else { (52, 32, 40) };
        // (p_type, p_flags, content)
        let mut segments: Vec<(u64, u64, Vec<u8>)> = vec![(1, 5, self.code.clone())];
        if let Some(interpreter) = &self.interpreter {
            segments.push((3, 4, [interpreter.as_bytes(), b"\0"].concat()));
        }
        if let Some(tags) = &self.dynamic {
            let content = tags
                .iter()
                .flat_map(|tag| [self.number(*tag, word), self.number(1, word)].concat())
                .collect();
            segments.push((2, 6, content));
        }
        segments.push((1, 6, self.go.clone().unwrap_or_default()));
        let names = b"\0.shstrtab\0.go.buildinfo\0.bss\0";

        let mut content = Vec::new();
        let mut table = Vec::new();
        let start = header_size + segment_size * segments.len();
        let mut go = (0, 0);
        let mut entry = 0;
        // Each segment has pages of its own, at the same distance from their start as in the file.
        for (number, (kind, flags, bytes)) in (0_u64..).zip(&segments) {
            while !(start + content.len()).is_multiple_of(16) {
                content.push(0);
            }
            let (offset, size) = ((start + content.len()) as u64, bytes.len() as u64);
            let address = 0x40_0000 + (number << 24) + offset;
            if number == 0 && self.entry {
                entry = address;
            }
            go = (offset, size);
            let fields: [(u64, usize); 8] = if self.wide {
                [
                    (*kind, 4),
                    (*flags, 4),
                    (offset, 8),
                    (address, 8),
                    (address, 8),
                    (size, 8),
                    (size, 8),
                    (16, 8),
                ]
            } else {
                [
                    (*kind, 4),
                    (offset, 4),
                    (address, 4),
                    (address, 4),
                    (size, 4),
                    (size, 4),
                    (*flags, 4),
                    (16, 4),
                ]
            };
            table.extend(fields.iter().flat_map(|(value, width)| self.number(*value, *width)));
            content.extend_from_slice(bytes);
        }
        let names_offset = (start + content.len()) as u64;
        content.extend_from_slice(names);
        let sections_offset = if self.sections { (start + content.len()) as u64 } else { 0 };
        if self.sections {
            // (sh_name, sh_type, sh_offset, sh_size); `.bss` claims bytes that no file has.
            let sections = [
                (0, 0, 0, 0),
                (1, 3, names_offset, names.len() as u64),
                (11, 1, go.0, go.1),
                (25, 8, u64::from(u32::MAX), 1 << 30),
            ];
            for (name, kind, offset, size) in sections {
                let fields = [
                    (name, 4),
                    (kind, 4),
                    (0, word),
                    (0, word),
                    (offset, word),
                    (size, word),
                    (0, 4),
                    (0, 4),
                    (0, word),
                    (0, word),
                ];
                content
                    .extend(fields.iter().flat_map(|(value, width)| self.number(*value, *width)));
            }
        }

        let mut file =
            vec![0x7f, b'E', b'L', b'F', 1 + u8::from(self.wide), 1 + u8::from(self.big), 1];
        file.resize(16, 0);
        let count = if self.sections { 4 } else { 0 };
        let fields = [
            (u64::from(self.kind), 2),
            (u64::from(self.machine), 2),
            (1, 4),
            (entry, word),
            (header_size as u64, word),
            (sections_offset, word),
            (0, 4),
            (header_size as u64, 2),
            (segment_size as u64, 2),
            (segments.len() as u64, 2),
            (section_size, 2),
            (count, 2),
            (count.min(1), 2),
        ];
        file.extend(fields.iter().flat_map(|(value, width)| self.number(*value, *width)));
        [file, table, content].concat()
    }
}

/// What Go's linker writes since Go 1.18.
pub(crate) fn go_build_info(version: &str, modinfo: &str) -> Vec<u8> {
    let mut bytes = b"\xff Go buildinf:\x08\x02".to_vec();
    bytes.resize(32, 0);
    let framed = [[b'<'; 16].as_slice(), modinfo.as_bytes(), [b'>'; 16].as_slice()].concat();
    for text in [version.as_bytes(), &framed] {
        let mut length = text.len();
        while length > 0x7f {
            bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap());
        bytes.extend_from_slice(text);
    }
    bytes
}
