//! `inferno man`: manual pages.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::commands::note;
use crate::config_file;

/// Writes a page for the program and one for each of its commands.
///
/// # Errors
/// The folder cannot be made or written to.
pub(crate) fn man(folder: &Path) -> Result<()> {
    let pages = pages()?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    for (name, page) in &pages {
        let path = folder.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let shown = folder.display();
    note(&format!("wrote {} pages: `man {shown}/inferno.1` shows the first", pages.len()));
    Ok(())
}

/// Names of files, and their pages.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = config_file::command::<Cli>();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "inferno", &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone().name(name.to_owned())).title(name.to_ascii_uppercase()).render(&mut page)?;
    pages.push((format!("{name}.1"), page));
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        collect(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let found = pages.iter().find(|(found, _)| found == name);
            String::from_utf8(found.unwrap_or_else(|| panic!("no {name}")).1.clone()).unwrap()
        };
        assert!(page("inferno.1").contains("inferno\\-chat(1)"), "{}", page("inferno.1"));
        assert!(page("inferno-serve.1").contains("\\-\\-api\\-key\\-file"));
        assert!(page("inferno-bench-serve.1").contains("\\-\\-trace"));
        assert!(!pages.iter().any(|(name, _)| name.contains("help") || name.contains("version")));
    }
}
