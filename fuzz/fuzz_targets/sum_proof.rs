//! Proofs of the checksum database: one text for each proof, and none proves another sum than the one
//! that the database signed.
#![no_main]

use cnister::bundle::{ModuleSum, SumProof};
use cnister_fuzz::check_words;
use libfuzzer_sys::fuzz_target;

const MODULE: &str = "github.com/containernetworking/plugins";
const SUMS: [&str; 2] = [
    "h1:8oU6WsIsU3bpnNZuvHp74a6cE1MJwbj2P7s4/yTUNlA=",
    "h1:fj7kS55qg3o/RgS+WGsF3+ZxwIImMPusQZKzBpcSr4c=",
];

fuzz_target!(|bytes: &[u8]| {
    let proof = match SumProof::parse(bytes) {
        Err(error) => return check_words(&error),
        Ok(proof) => proof,
    };
    assert_eq!(proof.to_text().as_bytes(), bytes);
    let [sum, other]: [ModuleSum; 2] = SUMS.map(|sum| sum.parse().unwrap());
    if let Err(error) = proof.verify(MODULE, "v1.9.1", sum) {
        check_words(&error);
    }
    proof.verify(MODULE, "v1.9.1", other).expect_err("a sum that was not signed");
    proof.verify(MODULE, "v1.9.2", sum).expect_err("a version that was not signed");
});
