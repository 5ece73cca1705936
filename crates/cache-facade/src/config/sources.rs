//! [`Environment`]: the settings of this process as text, from the file, `.env` and the environment; the later wins.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind as IoErrorKind, Read};
use std::path::Path;

use cache_core::{Error, ErrorKind, Result, text_file};

use super::settings::{CONFIG_FILE, REDIS_PASSWORD, REDIS_SENTINEL_PASSWORD, REDIS_URL};
use super::values;
use crate::toml;

/// The text of a setting.
#[derive(Debug, Clone)]
pub(super) struct Text {
    /// `None` where it is not UTF-8.
    value: Option<String>,
    /// The file and line, to follow the name in a sentence; empty for the environment and pairs.
    place: String,
}

/// Settings by name.
type Texts = Vec<(String, Text)>;

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self { value: Some(value), place: String::new() }
    }
}

/// The settings of this process as text: those of the cache, and those of the application beside it.
///
/// It is read from where [`CacheConfig::from_env`](super::CacheConfig::from_env) reads: the file that `CACHE_CONFIG_FILE`
/// names, `.env` in the working directory, the environment; the later wins. An application that reads its own
/// settings from here accepts them in the same places and by the same rules as the cache.
///
/// ```no_run
/// use cache_facade::{CacheConfig, config::Environment};
///
/// let environment = Environment::read()?;
/// let config = CacheConfig::from_environment(&environment)?;
/// let bind = environment.get("BIND")?.unwrap_or("127.0.0.1:8080");
/// # Ok::<(), cache_facade::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Environment {
    settings: BTreeMap<String, Text>,
    /// Warnings about the files.
    pub(super) warnings: Vec<String>,
}

impl Environment {
    /// Reads the files and the environment of this process.
    ///
    /// # Errors
    /// `Configuration` for a file that cannot be read (a directory or a pipe, more than a megabyte, not UTF-8), and for
    /// each line of `.env` that does not parse, by file and line, never by its text.
    pub fn read() -> Result<Self> {
        let text = |value: OsString| Text { value: value.into_string().ok(), place: String::new() };
        let variables = std::env::vars_os();
        let environment: Texts =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, text(value)))).collect();
        let (env_file, warnings) = env_file(Path::new(".env"))?;
        let named = |texts: &Texts| {
            let (_, text) = texts.iter().rfind(|(name, _)| name == CONFIG_FILE)?;
            Some(text.value.clone().unwrap_or_default())
        };
        let path = named(&environment).or_else(|| named(&env_file)).filter(|path| !path.is_empty());
        let config_file = path.map(|path| config_file(Path::new(&path))).transpose()?;
        let settings = config_file.into_iter().flatten().chain(env_file).chain(environment);
        Ok(Self { settings: settings.collect(), warnings })
    }

    /// The value of the setting `name`, without white space around it; `None` where it is unset or empty.
    ///
    /// # Errors
    /// `Configuration`, with the name and where the setting stands, for a value that is not UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.untrimmed(name)?.map(str::trim).filter(|value| !value.is_empty()))
    }

    /// The value of the setting `name` with the white space around it; `None` where it is unset or empty.
    pub(super) fn untrimmed(&self, name: &str) -> Result<Option<&str>> {
        match self.settings.get(name) {
            None => Ok(None),
            Some(Text { value: Some(value), .. }) => Ok(Some(&**value).filter(|value| !value.is_empty())),
            Some(Text { value: None, .. }) => {
                Err(Error::new(ErrorKind::Configuration, self.sentence(name, "text in UTF-8")))
            }
        }
    }

    /// The names of all settings, those of other software among them.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// The sentence of an error about the setting `name`.
    pub(super) fn sentence(&self, name: &str, takes: &str) -> String {
        format!("{name}{} takes {takes}", self.place(name))
    }

    /// The file and line of the setting `name`, to follow the name in a sentence; empty for the environment.
    pub(super) fn place(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", |text| &text.place)
    }
}

/// The later of two settings with one name wins.
impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let settings = pairs.into_iter().map(|(name, value)| (name, value.into())).collect();
        Self { settings, warnings: Vec::new() }
    }
}

/// Shows names alone: any value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

/// Reads the TOML file at `path`.
fn config_file(path: &Path) -> Result<Texts> {
    let shown = path.display().to_string();
    let failed = |what: &str| {
        let message = format!("cannot read {shown}, the file that {CONFIG_FILE} names: {what}");
        Error::new(ErrorKind::Configuration, message)
    };
    if !values::is_path(path) {
        return Err(failed("neither ~ nor $NAME nor quotes are replaced in it; write the path in full"));
    }
    let text = text_file::read(path).map_err(|error| failed(&error.to_string()))?;
    let place = format!(" (in {shown})");
    let settings = toml::settings(&text).map_err(|problem| failed(&problem))?;
    Ok(settings
        .into_iter()
        .map(|(name, value)| (name, Text { value: Some(value), place: place.clone() }))
        .collect())
}

/// Reads the `.env` at `path`, if there is one: its settings and warnings.
fn env_file(path: &Path) -> Result<(Texts, Vec<String>)> {
    let shown = path.display().to_string();
    match text_file::read(path) {
        Ok(text) => parse_env_file(&text, &shown),
        // A link that leads nowhere was meant to be a file.
        Err(error) if error.kind() == IoErrorKind::NotFound && !path.is_symlink() => {
            Ok((Vec::new(), Vec::new()))
        }
        Err(error) => Err(Error::new(ErrorKind::Configuration, format!("cannot read {shown}: {error}"))),
    }
}

fn parse_env_file(text: &str, path: &str) -> Result<(Texts, Vec<String>)> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut settings, mut warnings, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let mut read = 0;
    let handed_out = Cell::new(0);
    for item in
        dotenvy::from_read_iter(LineByLine { lines: lines.iter(), rest: &[], handed_out: &handed_out })
    {
        // An item begins at the first line since the last one that is neither empty nor a comment.
        let of_item = lines.get(read..handed_out.get()).unwrap_or_default();
        let before = of_item.iter().take_while(|line| is_blank(line)).count();
        let line = read + before + 1;
        read = handed_out.get();
        let has_dollar = of_item.iter().any(|line| has_open_dollar(line));
        match item {
            Err(_) => {
                let hint = if has_dollar { DOLLAR } else { "" };
                problems.push(format!("{path}, line {line}: not of the form NAME=value{hint}"));
            }
            Ok((name, value)) => {
                if has_dollar && [REDIS_PASSWORD, REDIS_SENTINEL_PASSWORD, REDIS_URL].contains(&&*name) {
                    warnings.push(format!("{name} in {path}, line {line}{DOLLAR}"));
                }
                let place = format!(" (in {path}, line {line})");
                settings.push((name, Text { value: Some(value), place }));
            }
        }
    }
    values::error(problems)?;
    Ok((settings, warnings))
}

/// Advice on a line with such a `$`.
const DOLLAR: &str = ": a $ outside single quotes stands for a variable; put the value in single quotes";

fn is_blank(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// Whether a `$` in `line` stands for a variable: it is neither in single quotes nor behind a backslash.
fn has_open_dollar(line: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for character in line.chars() {
        match character {
            '\'' if !escaped => quoted = !quoted,
            '$' if !quoted && !escaped => return true,
            _ => {}
        }
        escaped = character == '\\' && !escaped && !quoted;
    }
    false
}

/// Reads one line at a time and counts them, because the parser does not.
struct LineByLine<'a> {
    lines: std::slice::Iter<'a, &'a str>,
    rest: &'a [u8],
    handed_out: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let Some(line) = self.lines.next() else { return Ok(0) };
            self.rest = line.as_bytes();
            self.handed_out.set(self.handed_out.get() + 1);
        }
        self.rest.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<(String, String)>;

    fn parsed(text: &str) -> Result<(Pairs, Vec<String>)> {
        let (settings, warnings) = parse_env_file(text, ".env")?;
        let pairs = settings.into_iter().map(|(name, text)| (name, text.value.unwrap_or_default()));
        Ok((pairs.collect(), warnings))
    }

    #[test]
    fn lines_comments_quotes_and_values_of_several_lines_are_read() {
        let text = "# one\n\nA=1\nexport B='x y' # two\r\nC=\"two\nlines\"\nD=\n";
        let (pairs, warnings) = parsed(text).unwrap();
        let expected = [("A", "1"), ("B", "x y"), ("C", "two\nlines"), ("D", "")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_line_that_does_not_parse_is_named_by_number_and_never_shown() {
        let long = "x".repeat(20_000);
        let text = format!("A=1\n# {long}\nB={long}\n\nsecret hunter2\nC=1\nhunter2!\n");
        let error = parsed(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            ".env, line 5: not of the form NAME=value; .env, line 7: not of the form NAME=value"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
    }

    #[test]
    fn a_quote_that_is_never_closed_is_found_where_it_opens() {
        let error = parsed("A=1\n\n# x\nREDIS_PASSWORD='hunter2\nB=2\nC=3\n").unwrap_err();
        assert_eq!(error.to_string(), ".env, line 4: not of the form NAME=value");
    }

    #[test]
    fn a_line_that_a_dollar_breaks_says_so() {
        let error = parsed("REDIS_PASSWORD=\"pa$word\"\n").unwrap_err();
        assert!(
            error.to_string().contains("single quotes") && !error.to_string().contains("word\""),
            "{error}"
        );
    }

    #[test]
    fn a_dollar_in_a_password_warns_unless_it_stands_for_itself() {
        for (line, warns) in [
            ("REDIS_PASSWORD=pa$word", true),
            ("REDIS_PASSWORD=\"pa$word!\"", true),
            ("REDIS_URL=redis://:a$b@h", true),
            ("REDIS_PASSWORD='pa$word'", false),
            ("REDIS_PASSWORD=pa\\$word", false),
            ("REDIS_HOST=$HOME", false),
        ] {
            let (_, warnings) = parsed(&format!("\n{line}\n")).unwrap();
            assert_eq!(warnings.len(), usize::from(warns), "{line}");
            assert!(warnings.iter().all(|warning| warning.contains("line 2") && !warning.contains("word;")));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let error = config_file(Path::new("/nowhere/cache.toml")).unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/cache.toml")
                && error.to_string().contains("CACHE_CONFIG_FILE")
        );
    }
}
