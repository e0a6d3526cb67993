use super::*;
use crate::context::{Cancel, Resources};

struct Fixture {
    dir: tempfile::TempDir,
    context: Context,
    stores: Stores,
}

impl Fixture {
    fn new(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "{}\n").unwrap();
        }
        let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
        Self { dir, context, stores: Stores::new::<&str, &str>([]) }
    }

    fn path(&self, relative: &str) -> String {
        format!("{}/{relative}", self.dir.path().display())
    }

    fn discover(&self, arguments: &[String]) -> Result<Found> {
        discover(arguments, &SourceOptions::default(), &self.stores, &self.context)
    }

    /// Names relative to the folder, files and skipped.
    fn names(&self, arguments: &[&str]) -> (Vec<String>, Vec<String>) {
        let arguments: Vec<String> = arguments.iter().map(|argument| self.path(argument)).collect();
        let found = self.discover(&arguments).unwrap();
        let prefix = self.path("");
        let relative = |name: &String| name.strip_prefix(&prefix).unwrap().to_owned();
        (found.files.iter().map(|file| relative(&file.name)).collect(), found.skipped.iter().map(relative).collect())
    }
}

#[test]
fn folders_are_listed_recursively() {
    let fixture = Fixture::new(&[
        "b.jsonl",
        "a/z.jsonl.gz",
        "a/readme.pdf",
        "a/_SUCCESS",
        "a/.hidden.jsonl",
        "_tmp/x.jsonl",
        "a/b/c.csv",
        "a.b.txt",
        "noext",
    ]);
    let (files, skipped) = fixture.names(&["."]);
    assert_eq!(files, ["a.b.txt", "a/b/c.csv", "a/z.jsonl.gz", "b.jsonl"]);
    assert_eq!(skipped, ["a/readme.pdf", "noext"]);
    // What the user names is not hidden.
    assert_eq!(fixture.names(&["_tmp", "a/.hidden.jsonl"]).0, ["_tmp/x.jsonl", "a/.hidden.jsonl"]);
}

#[test]
fn the_order_and_number_of_arguments_change_nothing() {
    let fixture = Fixture::new(&["a/x.jsonl", "a/y.jsonl", "b/x.jsonl"]);
    let all = ["a/x.jsonl", "a/y.jsonl", "b/x.jsonl"];
    for arguments in [
        &["a", "b"][..],
        &["b", "a"],
        &["./b//x.jsonl", "b/x.jsonl", ".", "a/../a"],
        &["*/*.jsonl"],
        &["**/?.jsonl", "b"],
    ] {
        assert_eq!(fixture.names(arguments).0, all, "{arguments:?}");
    }
}

#[test]
fn globs_and_names_with_special_characters() {
    let fixture = Fixture::new(&["part-0", "a [1].jsonl", "100%.jsonl", "é #?.jsonl", "x*.jsonl", "deep/x.jsonl"]);
    assert_eq!(fixture.names(&["part-*"]).0, ["part-0"]);
    // A file of that very name comes before the glob.
    assert_eq!(fixture.names(&["x*.jsonl"]).0, ["x*.jsonl"]);
    assert_eq!(fixture.names(&["a [1].jsonl"]).0, ["a [1].jsonl"]);
    assert_eq!(fixture.names(&["*.jsonl"]).0, ["100%.jsonl", "a [1].jsonl", "x*.jsonl", "é #?.jsonl"]);
    let url = Url::from_file_path(fixture.path("é #?.jsonl")).unwrap();
    let found = fixture.discover(&[url.to_string(), fixture.path("é #?.jsonl")]).unwrap();
    assert_eq!((found.files.len(), &found.files[0].url), (1, &url.to_string()));
}

#[test]
fn what_is_not_there_is_named() {
    let fixture = Fixture::new(&["x.jsonl", "only/readme.pdf"]);
    fs::create_dir(fixture.path("empty")).unwrap();
    for missing in ["nothing.jsonl", "no*.jsonl", "x.jsonl/below.jsonl"] {
        let error = fixture.discover(&[fixture.path(missing)]).err().unwrap();
        assert!(matches!(&error, Error::Unreadable { location, .. } if location.ends_with(missing)), "{error}");
    }
    for none in ["empty", "only"] {
        let error = fixture.discover(&[fixture.path(none)]).err().unwrap();
        assert!(matches!(error, Error::NoInput { .. }), "{error}");
    }
    assert!(matches!(fixture.discover(&[]), Err(Error::NoInput { .. })));
    // A file that the user names is not skipped for its extension.
    let error = fixture.discover(&[fixture.path("only/readme.pdf"), fixture.path("only")]);
    assert_eq!(error.unwrap().files[0].format, Format::JsonLines);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_end() {
    let fixture = Fixture::new(&["data/x.jsonl"]);
    std::os::unix::fs::symlink(fixture.path("data"), fixture.path("data/again")).unwrap();
    std::os::unix::fs::symlink(fixture.path("data/x.jsonl"), fixture.path("data/y.jsonl")).unwrap();
    assert_eq!(fixture.names(&["data"]).0, ["data/x.jsonl", "data/y.jsonl"]);
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let fixture = Fixture::new(&[]);
    fs::write(fixture.dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.jsonl")), "{}").unwrap();
    let error = fixture.discover(&[fixture.path("")]).err().unwrap();
    assert!(matches!(&error, Error::Unreadable { source, .. } if source.to_string().contains("UTF-8")), "{error}");
}

#[test]
fn standard_input_is_spooled() {
    let fixture = Fixture::new(&[]);
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"{\"a\":1}\n").unwrap();
        encoder.finish().unwrap()
    };
    let cases: [(&[u8], Option<Format>, &[u8]); 5] = [
        (b"{\"a\":1}\n", None, &[0x28, 0xb5, 0x2f, 0xfd]),
        (b"a,b\n", Some(Format::Csv), &[0x28, 0xb5, 0x2f, 0xfd]),
        (&gzip, None, &[0x1f, 0x8b]),
        (b"PAR1...", None, b"PAR1"),
        (b"", None, b""),
    ];
    for (input, format, stored_head) in cases {
        let options = SourceOptions { format, ..SourceOptions::default() };
        let (stores, context) = (&fixture.stores, &fixture.context);
        let mut search = Search { options: &options, stores, context, found: BTreeMap::new() };
        let candidate = search.spool(input, "-".into(), "-".into()).unwrap();
        assert_eq!((candidate.name.as_str(), candidate.url.as_str()), ("-", "-"));
        let stored = candidate.stored(&fixture.context);
        let head = stored.read(0..stored_head.len() as u64).unwrap();
        assert_eq!(&*head, stored_head);
        search.add(candidate);
        assert_eq!(search.found.len(), 1);
    }
}

#[cfg(unix)]
#[test]
fn pipes_are_read_once_and_not_from_folders() {
    let fixture = Fixture::new(&["data/a.jsonl"]);
    let pipe = fixture.path("data/p.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, "{\"a\":1}\n").unwrap())
    };
    let found = fixture.discover(&[pipe.clone(), pipe.clone()]).unwrap();
    writer.join().unwrap();
    assert_eq!(found.files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), [pipe.as_str()]);
    assert_ne!(found.files[0].size_bytes, 0, "a pipe has no size; what came out of it has");
    let error = fixture.discover(&[fixture.path("data")]).err().unwrap();
    assert!(matches!(&error, Error::Unreadable { location, .. } if *location == pipe), "{error}");
}

#[test]
fn objects_below_a_prefix() {
    let fixture = Fixture::new(&[]);
    let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    for path in ["in/a.jsonl", "in/b/c.csv", "in/_log/x.jsonl", "inner/d.jsonl"] {
        fixture.context.runtime.block_on(store.put(&Path::from(path), "{}".into())).unwrap();
    }
    let (options, stores, context) = (&SourceOptions::default(), &fixture.stores, &fixture.context);
    let search = Search { options, stores, context, found: BTreeMap::new() };
    let mut listed: Vec<String> =
        search.list("memory", &store, &Path::from("in")).unwrap().into_iter().map(|(relative, _)| relative).collect();
    listed.sort();
    assert_eq!(listed, ["_log/x.jsonl", "a.jsonl", "b/c.csv"]);
}
