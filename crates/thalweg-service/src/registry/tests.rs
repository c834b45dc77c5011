//! What is kept, what wins, and what is refused without a trace.

use super::*;

const BOOK: &str = "syntax = \"proto3\"; message Book { string name = 1; }";

fn registry(home: &Path) -> SchemaRegistry {
    SchemaRegistry::open(ServiceConfig {
        data_dir: home.join("data"),
        etc_dir: home.join("etc"),
        allow_external_files: true,
        allow_private_net: true,
        io: tokio::runtime::Handle::current(),
    })
}

fn text(name: &str, content: &str, version: &str) -> SchemaRequest {
    let (name, content, version) = (name.to_owned(), content.to_owned(), version.to_owned());
    SchemaRequest { name, content, version, ..SchemaRequest::default() }
}

fn files(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("data/schemas/protobuf")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_schema_outlives_the_engine_and_a_higher_version_takes_the_place_of_a_lower_one() {
    let home = tempfile::tempdir().unwrap();
    let kind = SchemaType::Protobuf;
    let before = registry(home.path());
    before.create(kind, &text("book", BOOK, "1")).unwrap();
    let again = before.create(kind, &text("book", BOOK, "2")).unwrap_err();
    assert_eq!(again, "schema protobuf.book already registered");
    before.replace(kind, &text("book", BOOK, "2")).unwrap();
    before.replace(kind, &text("book", &format!("{BOOK} "), "2")).unwrap();
    let older = before.replace(kind, &text("book", BOOK, "1")).unwrap_err();
    assert_eq!(older, "schema protobuf.book already registered with a newer version 2");
    assert_eq!(files(home.path()), ["book@2.proto"]);
    let after = registry(home.path());
    let shown = after.get(kind, "book").unwrap();
    assert_eq!((shown.content.as_str(), shown.version.as_str()), (&*format!("{BOOK} "), "2"));
    assert_eq!(after.list(kind), ["book"]);
    after.delete(kind, "book").unwrap();
    assert_eq!(after.delete(kind, "book").unwrap_err(), "schema protobuf.book not found");
    let missing = "schema type protobuf id book not found in registry";
    assert_eq!(after.get(kind, "book").unwrap_err(), missing);
    assert!(files(home.path()).is_empty());
}

#[tokio::test]
async fn what_does_not_compile_changes_nothing_and_says_where() {
    let home = tempfile::tempdir().unwrap();
    let kind = SchemaType::Protobuf;
    let registry = registry(home.path());
    registry.create(kind, &text("book", BOOK, "")).unwrap();
    let deep = "message A {".repeat(100_000);
    for (content, part) in [
        ("message Book {", "end of file"),
        ("import \"other.proto\";", "other.proto"),
        ("import \"../../etc/passwd\";", "book.proto:1:8"),
        (deep.as_str(), "nested more than 64 deep"),
        ("syntax = \"proto3\"; message A { B b = 1; }", "book.proto:1:"),
    ] {
        let why = registry.replace(kind, &text("book", content, "")).unwrap_err();
        assert!(why.starts_with("invalid protobuf schema: ") && why.contains(part), "{part}: {why}");
    }
    let huge = format!("//{}", " ".repeat(5 << 20));
    assert!(registry.create(kind, &text("huge", &huge, "")).unwrap_err().contains("larger than 4 MB"));
    for version in ["../x", "1/2", "a@b", &"1".repeat(65)] {
        assert!(
            registry.replace(kind, &text("book", BOOK, version)).unwrap_err().contains("invalid version")
        );
    }
    assert_eq!(
        (files(home.path()), registry.get(kind, "book").unwrap().content.as_str()),
        (vec!["book.proto".to_owned()], BOOK)
    );
}

#[tokio::test]
async fn schemas_of_etc_are_shown_until_a_higher_version_comes_and_are_not_deleted() {
    let home = tempfile::tempdir().unwrap();
    let given = home.path().join("etc/schemas/protobuf");
    fs::create_dir_all(&given).unwrap();
    fs::write(given.join("book@3.proto"), BOOK).unwrap();
    fs::write(given.join("book@2.proto"), "old").unwrap();
    let kind = SchemaType::Protobuf;
    let registry = registry(home.path());
    assert_eq!(registry.get(kind, "book").unwrap().version, "3");
    assert!(registry.delete(kind, "book").unwrap_err().contains("etc/schemas"));
    assert!(registry.replace(kind, &text("book", BOOK, "2")).unwrap_err().contains("newer version 3"));
    registry.replace(kind, &text("book", BOOK, "4")).unwrap();
    // An import finds it, whatever its version.
    let user = "syntax = \"proto3\"; import \"lib/a.proto\"; message B { A a = 1; }";
    fs::create_dir_all(given.join("lib")).unwrap();
    fs::write(given.join("lib/a.proto"), "syntax = \"proto3\"; message A {}").unwrap();
    registry.create(kind, &text("user", user, "")).unwrap();
    assert_eq!(registry.exported().keys().collect::<Vec<_>>(), ["protobuf_book", "protobuf_user"]);
    registry.delete(kind, "book").unwrap();
    assert_eq!(registry.get(kind, "book").unwrap().version, "3");
}

#[tokio::test]
async fn libraries_are_kept_as_files() {
    let home = tempfile::tempdir().unwrap();
    let library = home.path().join("x.so");
    fs::write(&library, [0u8, 159, 1]).unwrap();
    let registry = registry(home.path());
    let so_file = format!("file://{}", library.display());
    let request = SchemaRequest { name: "c".to_owned(), so_file, ..SchemaRequest::default() };
    registry.create(SchemaType::Custom, &request).unwrap();
    let shown = registry.get(SchemaType::Custom, "c").unwrap();
    assert_eq!(fs::read(&shown.so_file).unwrap(), [0u8, 159, 1]);
    assert!(shown.content.is_empty() && shown.file.is_empty());
    assert_eq!(registry.upload(SchemaType::Custom, ("c", ""), ("c.so", &[1])), Ok(false));
    assert_eq!(registry.upload(SchemaType::Protobuf, ("c", ""), ("c.proto", BOOK.as_bytes())), Ok(true));
    let missing = SchemaRequest { file: "file:///nowhere.proto".to_owned(), ..text("m", "", "") };
    assert!(
        registry.create(SchemaType::Protobuf, &missing).unwrap_err().starts_with("fail to download file")
    );
    assert_eq!(registry.list(SchemaType::Protobuf), ["c"]);
}
