//! Stored hashes of every form: read, bounded, checked.
//!
//! The texts were made by the programs that are named beside them, all for `PASSWORD`.

use proptest::prelude::{ProptestConfig, any, proptest};
use tollhouse::passwords::{self, BadHash, HashCost, HmacDigest, ShaVariant, StoredHash};
use tollhouse::settings::{AllowWeak, WeakScheme};

const PASSWORD: &str = "correct horse bättery";

/// Who made it, and what he made.
const STRONG: &[(&str, &str)] = &[
    (
        "argon2-cffi, which Spring's {argon2} writes alike",
        "$argon2id$v=19$m=16384,t=2,p=1$Zo97dv4cvNqEP9Ce5wJyEw$K3714q7J5dEBPBS3wc8T6vGdKA7zmPXnFUiBVll/7Uc",
    ),
    (
        "argon2-cffi, Argon2i",
        "$argon2i$v=19$m=64,t=3,p=1$BpAuTkkBobjPUB1YYk3PMQ$cebXtX/7TDSfM52Z7AvHHYSSDhADoVSRPMG3dz8M5Kg",
    ),
    (
        "Django 5.2, Argon2PasswordHasher",
        "argon2$argon2id$v=19$m=102400,t=2,p=8$dFk3TXdEZFlIY1RtaXllcE5kQUNIaA$yzmsauWgi0CzhQp5PbpbiWMkvgnc59NjScpt+n33uew",
    ),
    ("python bcrypt", "$2a$05$mfrm4jBS/6yjzcABMPCuUu93spQPbsTz2/KD./cB4Zkhkf4h.S0xO"),
    ("htpasswd -B -C 6", "$2y$06$SdAkW8NZoNrP5c7U8YjOROFV2CUQjthtY4xJvwsK5awigb3DPDFw2"),
    (
        "passlib 1.7 scrypt",
        "$scrypt$ln=11,r=8,p=1$hdB6r7UWwhijlDKGMAZgLA$OqQFlbxfm9jHdsfWG4u19Dv8JxUi938IPKMkG+Z1IlM",
    ),
    (
        "passlib scrypt, another r and p",
        "$scrypt$ln=10,r=4,p=2$qLVWKiWkVKpVKiXkHMNYqw$p6UTTd624Qs2tM3taCEMnVGZs+9JK8HP5txmKg98Oh4",
    ),
    ("passlib pbkdf2_sha1", "$pbkdf2$2000$6L13rtU657yXsrb2/l/rnQ$scyXFIX2k27pUMGuSuuCEzKX.Sw"),
    (
        "passlib pbkdf2_sha256",
        "$pbkdf2-sha256$2900$0FrLmTOmNMb4vzdGSEkppQ$sm/YrnxCfc4E1LjKKKN3PN65rzi0xwDERSaYevpB7RA",
    ),
    (
        "passlib pbkdf2_sha512",
        "$pbkdf2-sha512$2500$kxJiLEWIcW5NifG.11qr9Q$xe5vBTXXXr334oYbSPkD3huqQFcntDhiNUAutFFOgLVxmm93/o5esSE9hQZpiwpHFtYdx0Me.MB3hidRqHmKYw",
    ),
    (
        "hashlib.pbkdf2_hmac in the PHC form",
        "$pbkdf2-sha256$i=4096,l=32$z+9mdJcuhmW/kY/EGFUPhQ$qV6iXPAMlDstsEEN/Za9iwahU1oEAAxl02lex5f9/5w",
    ),
    (
        "hashlib.pbkdf2_hmac in the PHC form, SHA-512",
        "$pbkdf2-sha512$i=4096,l=64$z+9mdJcuhmW/kY/EGFUPhQ$y8Y/3ocZCpP7S5Sq77rX0ePaI/jdNpymPFHpai3/m9NZ4DqpBJ2g2BQJKmgShNoII7krNmHCChVVX+L4mKW1Kg",
    ),
    (
        "Django 5.2, PBKDF2PasswordHasher",
        "pbkdf2_sha256$2000$Ol1O5pNJf3anFJBdI56b3t$NFQeoF2pSHnKhC+OQ5iCUqRnHbmPzp1+fQNYj23gETc=",
    ),
    (
        "Django 5.2, PBKDF2SHA1PasswordHasher",
        "pbkdf2_sha1$2000$aH1K7tKCtb3o3XFk7DIuWO$ZIvaSL8GkLB2vOxc4pCm+leMDNE=",
    ),
    (
        "passlib django_pbkdf2_sha256, with a salt of twelve",
        "pbkdf2_sha256$3000$b0RXtUtHMsxl$ShgWI7n9TgU0OkLv/XCfob/2SPkHulhl2F7YZJoHRn0=",
    ),
    ("mkpasswd -m sha-256", "$5$vvXVcGk3GLVuPXpr$g8q9ZQZ9FdhD0dFy84xXPG2Io8Ae9eXj3r2g8CuoDx6"),
    (
        "mkpasswd -m sha-512",
        "$6$mC2WsZcYM2boq7TM$vyIdWw1vH7lTUtDst3P0Iv1vhi9TNz6gXiPSa9v48MXgya2kL6IgyINXTjhNt0zh.TUQ1FpsPswPsvTl7FeVh1",
    ),
    (
        "mkpasswd -m sha-512 -S abcdefgh",
        "$6$abcdefgh$vXX4p52RXlFC/O1sayFyXvwrQr1f6sEKLnuJVv8jCufmq72g9Ohvn0MXjhUNvRcpcuEndbFvgkhyKJkcd3KhE.",
    ),
    ("htpasswd -2", "$5$0gzyJLM15CEELolw$nFkZUP6yN6tbRbwm0o/3t3eacuuayU0pqkz73Wb1pC0"),
    (
        "htpasswd -2 -r 10000",
        "$5$rounds=10000$0dCuap0sruDsV/8L$vHR3DszaMXidoWmsy5pgBKvoBceK8VqH.WDZa6eav0C",
    ),
    (
        "htpasswd -5 -r 1000",
        "$6$rounds=1000$Xor/B9KEWVL5kpK7$ZOTYYT9NE3IYp8YxYx8AYAotX3KxUce8/Zyex/UvpPLsnB3w7A5HHPKnFHcYMGuwWEz3yyCwzjFzil8xQfMiN/",
    ),
    ("openssl passwd -5", "$5$0123456789abcdef$XRyMX3H5GMhPFEPvmnFdT5R3MHkz3CEsTnt56uARXc2"),
    (
        "passlib sha512_crypt, as OpenLDAP's {CRYPT}",
        "{CRYPT}$6$rounds=1500$IjpbZ77A1zgvN321$/RS1KxmGQsKB5JV3uXx3msRIqY6VO8Wx6vL3H8eIUvbD8tdz2J3tZGnd8mKz4JfImwOWwy6M3IJKa1saHBIlm/",
    ),
    ("Spring's {bcrypt}", "{bcrypt}$2a$05$mfrm4jBS/6yjzcABMPCuUu93spQPbsTz2/KD./cB4Zkhkf4h.S0xO"),
    (
        "Spring's {argon2@SpringSecurity_v5_8}",
        "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=16384,t=2,p=1$Zo97dv4cvNqEP9Ce5wJyEw$K3714q7J5dEBPBS3wc8T6vGdKA7zmPXnFUiBVll/7Uc",
    ),
    (
        "hashlib.pbkdf2_hmac with Spring 5.8's parameters",
        "{pbkdf2@SpringSecurity_v5_8}75f4833f74e03346c06390bd58c455ff589f3508948950b4341da1f641ccda56b7b0db9fb190bdbb27d7a6cb9c4698e6",
    ),
    (
        "hashlib.pbkdf2_hmac with Spring 5.5's parameters",
        "{pbkdf2}9b427694eb0aed3dff5e8c252de9baecbd0c460b3013af537acf12b076780999e68c8ec77925decc",
    ),
    (
        "hashlib.scrypt with Spring 5.8's parameters",
        "{scrypt@SpringSecurity_v5_8}$100801$Ii2Fg26g+wBs0ZJAjjZ3EQ==$Bj47+obnMQ7A57WYzDZszDVipQPWN6P9swE9rASSO1g=",
    ),
    (
        "hashlib.scrypt with Spring 4.1's parameters",
        "{scrypt}$e0801$J9MoYzA3fgwPZf8PxKHPwSHwg7oE1hs90ZDfiWn2hCiGUXqQyONP2pruP/P5r8G/V5DCtYpk20pGsgvrc9ZHmw==$W5MN5TWjwJETkXn1eiYXYcowJORDUqR1gx4nKG2YNko=",
    ),
];

const WEAK: &[(&str, WeakScheme, &str)] = &[
    ("slappasswd 2.5", WeakScheme::Ssha, "{SSHA}713ZiUvLcDCcRK6DR1HR77HLJMXgS24M"),
    (
        "slappasswd with pw-sha2",
        WeakScheme::Ssha256,
        "{SSHA256}Bt8D5cjQpxb2jsA/etHg/JOuICw3vkJgQcSAT/P5f94/K4B4HIiwtA==",
    ),
    (
        "slappasswd with pw-sha2",
        WeakScheme::Ssha512,
        "{SSHA512}sc/Chs9M8C9EQYm9fqjnWvWiNjK4A1Wh/m19HPu7LcUG41L/s2jq1aYazF8iaqXs96Qwg/K4KWLrCYPvDpIxXOUvdcCWs+u3",
    ),
    (
        "passlib ldap_salted_sha512, in small letters and without padding",
        WeakScheme::Ssha512,
        "{ssha512}OAJm1b1dK2BQuTAPzevQfyKyK98nZLhIgcrxZIgXnP7IALtU5KApTF11X2dMn5zZ9fnfxB6dsq65XDkNvJBSsYSQktJa6x3j",
    ),
    (
        "hashlib.md5 of 100:mydomain.com:password",
        WeakScheme::WebitelMd5,
        "{webitel-md5:100@mydomain.com}ad15b3ee4acd2e4ff50b64aa127d80c1",
    ),
];

const COSTS: [HashCost; 11] = [
    HashCost::Bcrypt { cost: 4 },
    HashCost::Argon2 { memory: 64, passes: 1, lanes: 2 },
    HashCost::Scrypt { log_n: 10, r: 1, p: 2 },
    HashCost::Pbkdf2 { prf: HmacDigest::Sha1, rounds: 1000 },
    HashCost::Pbkdf2 { prf: HmacDigest::Sha256, rounds: 2000 },
    HashCost::Pbkdf2 { prf: HmacDigest::Sha512, rounds: 1000 },
    HashCost::ShaCrypt { variant: ShaVariant::Sha256, rounds: 1000 },
    HashCost::ShaCrypt { variant: ShaVariant::Sha512, rounds: 1000 },
    HashCost::Digest { scheme: WeakScheme::Ssha },
    HashCost::Digest { scheme: WeakScheme::Ssha512 },
    HashCost::Digest { scheme: WeakScheme::WebitelMd5 },
];

fn read(text: &str) -> StoredHash {
    StoredHash::parse_allowing(text, &AllowWeak::all()).unwrap_or_else(|bad| panic!("{text} {bad}"))
}

/// Right for `PASSWORD` and nothing near it.
#[track_caller]
fn verifies(made_by: &str, text: &str) {
    let stored = read(text);
    assert!(stored.verify(PASSWORD).unwrap(), "{made_by}");
    let long = format!("{PASSWORD}{}", "x".repeat(2000));
    for wrong in ["", "correct horse batterY", "correct horse bättery ", "correct horse bättery\0"]
    {
        assert!(!stored.verify(wrong).unwrap(), "{made_by}: {wrong:?}");
    }
    assert!(!stored.verify(&long).unwrap(), "{made_by}: a longer one");
    assert_eq!(stored.as_str(), text, "{made_by}");
}

#[test]
fn hashes_that_others_made_verify_their_password_only() {
    for (made_by, text) in STRONG {
        verifies(made_by, text);
        assert_eq!(read(text).weak(), None, "{made_by}");
        assert!(StoredHash::parse(text).is_ok(), "{made_by}");
    }
}

#[test]
fn weak_hashes_are_taken_only_where_they_are_named() {
    for (made_by, scheme, text) in WEAK {
        verifies(made_by, text);
        assert_eq!(read(text).weak(), Some(*scheme), "{made_by}");
        assert!(read(text).needs_rehash(), "{made_by}");
        let refused = StoredHash::parse(text).unwrap_err();
        assert_eq!(refused, BadHash::NotAllowed { scheme: *scheme });
        assert!(refused.to_string().contains(&format!("allow_weak = [\"{}\"]", scheme.as_str())));
    }
}

#[test]
fn a_made_hash_verifies_its_password_only() {
    let stored = passwords::hash("correct horse").unwrap();

    assert!(stored.verify("correct horse").unwrap());
    assert!(!stored.verify("correct horsE").unwrap());
    assert!(!StoredHash::parse(stored.as_str()).unwrap().needs_rehash());
}

#[test]
fn a_dummy_reads_back_with_its_cost_and_matches_nothing() {
    for cost in COSTS {
        let dummy = cost.dummy();

        assert_eq!(read(dummy.as_str()).cost(), cost, "{}", dummy.as_str());
        for password in ["", PASSWORD] {
            assert!(!dummy.verify(password).unwrap(), "{cost:?}");
            assert!(!read(dummy.as_str()).verify(password).unwrap(), "{cost:?}");
        }
    }
}

#[test]
fn an_empty_password_is_never_right() {
    // bcrypt of nothing, and SHA-1 of the salt alone.
    let bcrypt = bcrypt::hash("", 4).unwrap();
    for text in [bcrypt.as_str(), "{SSHA}LCq6zkvYuxn2cRPaFG27jMz4SRVzYWx0c2FsdA=="] {
        assert!(!read(text).verify("").unwrap(), "{text}");
    }
}

#[test]
fn no_password_is_cut() {
    let long = "x".repeat(72);
    let stored = read(&bcrypt::hash(&long, 4).unwrap());
    assert!(stored.verify(&long).unwrap(), "72 bytes are read whole");
    assert!(!stored.verify(&format!("{long}y")).unwrap(), "73 are not");

    let stored = read(&bcrypt::hash("a", 4).unwrap());
    assert!(stored.verify("a").unwrap());
    assert!(!stored.verify("a\0a").unwrap(), "a repeated key is not the password");

    let longest = "x".repeat(1024);
    let stored = passwords::hash(&longest).unwrap();
    assert!(stored.verify(&longest).unwrap());
    assert!(!stored.verify(&format!("{longest}x")).unwrap());
}

#[test]
fn work_is_bounded_when_a_hash_is_read() {
    const SALT: &str = "c29tZXNhbHQxMjM0NTY";
    const OUT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let argon2 = |params: &str| format!("$argon2id$v=19${params}${SALT}${OUT}");
    let scrypt = |params: &str| format!("$scrypt${params}${SALT}${OUT}");
    let pbkdf2 = |params: &str| format!("$pbkdf2-sha256${params}${SALT}${OUT}");
    let crypt = |params: &str| format!("$5${params}$abcdefgh${}", "A".repeat(42) + ".");
    let costly = |limit| BadHash::TooCostly { limit };
    let quick = |limit| BadHash::TooQuick { limit };
    let scrypt_memory = costly("128 times N times r is at most 256 MiB");
    let scrypt_work = costly("128 times N times r times p is at most 1 GiB");
    let iterations = costly("PBKDF2's iterations are at most 4000000");
    let spring = format!("{{scrypt}}$7fffffff${SALT}${OUT}");
    for (text, expected, why) in [
        (argon2("m=4294967295,t=1,p=1"), costly("m is at most 262144 (256 MiB)"), "4 TiB"),
        (
            argon2("m=65536,t=17,p=1"),
            costly("m times t is at most 1048576 (1 GiB)"),
            "too many passes",
        ),
        (
            HashCost::Bcrypt { cost: 16 }.dummy().as_str().to_owned(),
            costly("bcrypt's cost is at most 15"),
            "bcrypt for seconds",
        ),
        (scrypt("ln=19,r=8,p=1"), scrypt_memory, "512 MiB"),
        (scrypt("ln=63,r=4294967295,p=1"), scrypt_memory, "more than there is"),
        (scrypt("ln=4294967295,r=1,p=1"), scrypt_memory, "a shift too far"),
        (scrypt("ln=18,r=8,p=5"), scrypt_work, "256 MiB five times"),
        (scrypt("ln=10,r=1,p=4294967295"), scrypt_work, "for ever"),
        (spring, scrypt_memory, "Spring's number"),
        (pbkdf2("i=4000001,l=32"), iterations, "iterations"),
        (pbkdf2("4294967295"), iterations, "passlib's iterations"),
        (format!("$pbkdf2$3000000${SALT}${OUT}"), iterations, "32 bytes are two blocks of SHA-1"),
        (format!("pbkdf2_sha256$9999999$abcdefgh${OUT}="), iterations, "Django's iterations"),
        (crypt("rounds=999999999"), costly("SHA-crypt's rounds are at most 1000000"), "an hour"),
        (crypt("rounds=999"), quick("SHA-crypt's rounds are at least 1000"), "too few"),
        (scrypt("ln=9,r=8,p=1"), quick("scrypt's N is at least 1024 (ln=10)"), "too little"),
        (pbkdf2("i=999"), quick("PBKDF2's iterations are at least 1000"), "too few"),
    ] {
        assert_eq!(StoredHash::parse(&text), Err(expected), "{why}");
    }
}

#[test]
fn hashes_that_cannot_be_used_are_told_apart() {
    const SALT: &str = "c29tZXNhbHQxMjM0NTY";
    const OUT: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let malformed = |scheme| BadHash::Malformed { scheme };
    let weak = |scheme| BadHash::Weak { scheme };
    for (text, expected, why) in [
        ("", BadHash::Empty, "empty"),
        ("hunter2", BadHash::PlainText, "a password"),
        ("$ecret$", BadHash::PlainText, "a password with dollars"),
        ("{ecret", BadHash::PlainText, "a password with a brace"),
        ("mK3CDW9mals02", BadHash::PlainText, "crypt(3)"),
        ("d41d8cd98f00b204e9800998ecf8427e", BadHash::PlainText, "an MD5 of we know not what"),
        ("$apr1$Ys18Eh/1$4UEYsmNrI8TZQa1bc5wFZ0", weak("apr1"), "htpasswd -m"),
        ("{SHA}iPIjShTT0XTeFsNrRFgeEV8NuOo=", weak("{SHA}"), "htpasswd -s"),
        ("{noop}hunter2", weak("{noop}"), "Spring's plain text"),
        ("{MD5}XUFAKrxLKna5cZ2REBfFkg==", weak("{MD5}"), "LDAP's md5"),
        ("{crypt}$1$abcdefgh$G//4keteveJp0qb8z2DxG/", weak("md5-crypt"), "md5-crypt within"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o", BadHash::Unknown, "yescrypt"),
        ("{x}y", BadHash::Unknown, "no known scheme"),
        ("{bcrypt}{noop}x", BadHash::Unknown, "one within the other"),
        ("{bcrypt}hunter2", BadHash::Unknown, "nothing within"),
        ("$pbkdf2-md5$i=5000$c29tZXNhbHQxMjM0NTY$AAAA", BadHash::Unknown, "another digest"),
        ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ", malformed("argon2"), "no output"),
        ("$argon2id$é", malformed("argon2"), "not ASCII"),
        ("$scrypt$ln=11,p=1,r=8$c29tZXNhbHQxMjM0NTY$AAAA", malformed("scrypt"), "another order"),
        ("$scrypt$ln=+11,r=8,p=1$c29tZXNhbHQxMjM0NTY$AAAA", malformed("scrypt"), "a sign"),
        ("{scrypt}$-1$c29tZXNhbHQxMjM0NTY$AAAA", malformed("scrypt"), "below nothing"),
        ("{pbkdf2}abcd", malformed("pbkdf2"), "cut"),
        ("{pbkdf2}é", malformed("pbkdf2"), "not hex"),
        ("$5$abc$AAAA", malformed("SHA-crypt"), "a short salt"),
        ("$6$rounds=05000$abcdefgh$x", malformed("SHA-crypt"), "two spellings of a number"),
        ("{SSHA}iPIjShTT0XTeFsNrRFgeEV8NuOo=", malformed("ssha"), "no salt"),
        ("{SSHA}!", malformed("ssha"), "no base64"),
        (
            "{webitel-md5:100}ad15b3ee4acd2e4ff50b64aa127d80c1",
            malformed("webitel-md5"),
            "no domain",
        ),
        (
            "{webitel-md5:a:b@c}ad15b3ee4acd2e4ff50b64aa127d80c1",
            malformed("webitel-md5"),
            "a colon",
        ),
        ("{webitel-md5:100@a}ad15", malformed("webitel-md5"), "cut"),
    ] {
        assert_eq!(StoredHash::parse_allowing(text, &AllowWeak::all()), Err(expected), "{why}");
    }
    for (text, scheme, why) in [
        (format!("$argon2id$v=19$m=19456,t=2,p=1,data=AAAA${SALT}${OUT}"), "argon2", "more data"),
        (format!("$argon2id$m=8,t=1,p=1${SALT}${OUT}"), "argon2", "no version"),
        (format!("$2b$10${}é", "a".repeat(51)), "bcrypt", "not ASCII"),
        (format!("$scrypt$ln=11,r=8,p=1$c2FsdA${OUT}"), "scrypt", "a short salt"),
        (format!("$scrypt$ln=11,r=8,p=1${SALT}$AAAA"), "scrypt", "a short output"),
        (format!("$scrypt$ln=11,r=0,p=1${SALT}${OUT}"), "scrypt", "no block"),
        (format!("$pbkdf2-sha256$i=5000,l=31${SALT}${OUT}"), "pbkdf2", "another length"),
        (format!("pbkdf2_sha256$5000$short${OUT}"), "pbkdf2", "a short salt"),
        (format!("$5$abcdefgh${}z", "A".repeat(42)), "SHA-crypt", "bits that no output has"),
        (format!("$5$abcdefgh${}", "A".repeat(44)), "SHA-crypt", "too long"),
    ] {
        assert_eq!(StoredHash::parse(&text), Err(malformed(scheme)), "{why}");
    }
}

#[test]
fn weaker_hashes_are_marked_for_replacement() {
    const REST: &str = "c29tZXNhbHQxMjM0NTY$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (head, outdated, why) in [
        ("$argon2id$v=19$m=19456,t=2,p=1", false, "ours"),
        ("{argon2}$argon2id$v=19$m=19456,t=2,p=1", false, "ours in Spring's braces"),
        ("$argon2id$v=19$m=65536,t=1,p=4", false, "more memory instead of passes"),
        ("$argon2id$v=19$m=8192,t=5,p=1", true, "little memory"),
        ("$argon2id$v=19$m=19456,t=1,p=1", true, "one pass"),
        ("$argon2i$v=19$m=65536,t=3,p=1", true, "another variant"),
        ("$argon2id$v=16$m=65536,t=3,p=1", true, "the old version"),
        ("$scrypt$ln=17,r=8,p=1", true, "scrypt, however strong"),
        ("$pbkdf2-sha256$i=600000", true, "PBKDF2, however strong"),
    ] {
        let stored = StoredHash::parse(&format!("{head}${REST}")).unwrap();
        assert_eq!(stored.needs_rehash(), outdated, "{why}");
    }
}

#[test]
fn a_hash_never_prints() {
    for (_, _, text) in WEAK {
        let shown = format!("{:?}", read(text));

        assert!(!shown.contains("100") && !shown.contains("ad15"), "{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is read can be checked, too; what cannot is refused.
    #[test]
    fn no_text_can_stop_the_process(
        which in 0_usize..STRONG.len() + WEAK.len(),
        cut in 0_usize..200,
        put in r"[$a-z0-9=,é./\\{}@:+]{0,12}",
        noise in any::<String>(),
    ) {
        let texts = STRONG.iter().map(|(_, text)| text).chain(WEAK.iter().map(|(_, _, text)| text));
        let text = texts.copied().nth(which).unwrap();
        let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let all = AllowWeak::all();
        for damaged in [
            format!("{}{put}{}", &text[..cut], &text[cut..]),
            format!("{}{put}", &text[..cut]),
            format!("{put}{noise}"),
            format!("{{ssha}}{noise}"),
            format!("$5${noise}"),
        ] {
            if let Ok(stored) = StoredHash::parse_allowing(&damaged, &all)
                && stored.cost() < (HashCost::Bcrypt { cost: 5 })
                && !matches!(stored.cost(), HashCost::Pbkdf2 { rounds: 10_000.., .. })
            {
                proptest::prop_assert!(stored.verify(&noise).is_ok(), "{damaged}");
            }
        }
    }
}
