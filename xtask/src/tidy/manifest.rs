//! As much of Cargo's files as the rules need, read line by line: the names in a manifest's dependency tables,
//! and the packages of the lock file.

/// Whom a dependency serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The crate itself, or its build script.
    Product,
    /// Its tests, examples and benchmarks.
    Dev,
    /// Nobody yet: `[workspace.dependencies]`.
    Workspace,
}

/// An entry of a dependency table.
#[derive(Debug)]
pub(super) struct Dependency {
    /// The key in the table.
    pub key: String,
    /// What `package = ".."` says, if it does.
    pub renamed_from: Option<String>,
    pub used_by: Use,
    pub line: usize,
}

/// The package's name and its dependencies, those of all targets together.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub package: Option<String>,
    pub dependencies: Vec<Dependency>,
}

impl Manifest {
    pub(super) fn parse(text: &str) -> Self {
        let mut manifest = Manifest::default();
        let mut table: Vec<String> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
                table = dotted(header.0);
                if let Some((used_by, Some(key))) = dependency_table(&table) {
                    manifest.add(key, None, used_by, i + 1);
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = dotted(key);
            if line.starts_with('#') {
                continue;
            }
            if table == ["package"] && key == ["name"] {
                manifest.package = Some(unquoted(value));
            }
            match dependency_table(&table) {
                // [dependencies]
                // key = { package = ".." }      or      key.package = ".."
                Some((used_by, None)) => {
                    let renamed_from = match key.get(1).map(String::as_str) {
                        Some("package") => Some(unquoted(value)),
                        _ => inline_package(value),
                    };
                    manifest.add(&key[0], renamed_from, used_by, i + 1);
                }
                // [dependencies.key]
                // package = ".."
                Some((used_by, Some(name))) if key == ["package"] => {
                    manifest.add(name, Some(unquoted(value)), used_by, i + 1);
                }
                _ => {}
            }
        }
        manifest
    }

    fn add(&mut self, key: &str, renamed_from: Option<String>, used_by: Use, line: usize) {
        match self.dependencies.iter_mut().find(|d| d.key == key && d.used_by == used_by) {
            Some(known) => known.renamed_from = renamed_from.or(known.renamed_from.take()),
            None => self.dependencies.push(Dependency { key: key.to_owned(), renamed_from, used_by, line }),
        }
    }

    /// The name of the package behind a dependency; the workspace's manifest may rename as well.
    pub(super) fn package_of<'a>(dependency: &'a Dependency, workspace: &'a Manifest) -> &'a str {
        let shared =
            workspace.dependencies.iter().find(|d| d.used_by == Use::Workspace && d.key == dependency.key);
        let renamed = dependency.renamed_from.as_ref().or(shared.and_then(|d| d.renamed_from.as_ref()));
        renamed.unwrap_or(&dependency.key)
    }
}

/// A package of the lock file.
#[derive(Debug, Default)]
pub(super) struct Locked {
    pub name: String,
    pub version: String,
    /// One of the workspace's own: no source.
    pub is_ours: bool,
    /// `name`, or `name version` where several versions are locked.
    pub dependencies: Vec<String>,
    pub line: usize,
}

/// The packages of a `Cargo.lock`.
pub(super) fn parse_lock(text: &str) -> Vec<Locked> {
    let mut packages: Vec<Locked> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line == "[[package]]" {
            packages.push(Locked { is_ours: true, line: i + 1, ..Locked::default() });
            continue;
        }
        let Some(package) = packages.last_mut() else { continue };
        match line.split_once(" = ") {
            Some(("name", name)) => package.name = unquoted(name),
            Some(("version", version)) => package.version = unquoted(version),
            Some(("source", _)) => package.is_ours = false,
            None if line.starts_with(" \"") => {
                package.dependencies.push(unquoted(line.trim_end_matches(',')))
            }
            _ => {}
        }
    }
    packages
}

/// The parts of a key or a table's name; quotes hold one together.
fn dotted(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in key.trim().chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(q), _) if q == c => quote = None,
            (None, '.') => parts.push(String::new()),
            _ => parts.last_mut().expect("starts with one part").push(c),
        }
    }
    parts
}

/// Whose dependencies a table holds, and the one it is about if it is about one.
fn dependency_table(table: &[String]) -> Option<(Use, Option<&str>)> {
    let table: Vec<&str> = table.iter().map(String::as_str).collect();
    let (used_by, rest) = match &table[..] {
        ["dependencies" | "build-dependencies", rest @ ..] => (Use::Product, rest),
        ["target", _, "dependencies" | "build-dependencies", rest @ ..] => (Use::Product, rest),
        ["dev-dependencies", rest @ ..] | ["target", _, "dev-dependencies", rest @ ..] => (Use::Dev, rest),
        ["workspace", "dependencies", rest @ ..] => (Use::Workspace, rest),
        _ => return None,
    };
    Some((used_by, rest.first().copied()))
}

/// The `package = ".."` of an inline table.
fn inline_package(value: &str) -> Option<String> {
    let fields = value.trim().strip_prefix('{')?;
    let field = fields.split(',').find_map(|f| f.trim().strip_prefix("package"))?;
    Some(unquoted(field.trim().strip_prefix('=')?))
}

/// The text between the first two quotes.
fn unquoted(value: &str) -> String {
    value.split(['"', '\'']).nth(1).unwrap_or_default().to_owned()
}
