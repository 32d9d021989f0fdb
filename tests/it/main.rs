mod dialect_errors;
mod tokens; // keys, verification, the pair, other issuers, the memory of verified tokens
mod wycheproof; // the signature vectors of Project Wycheproof
