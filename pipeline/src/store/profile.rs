//! Profiles of the AWS command line: keys that are written in its files.
//!
//! ```text
//! ~/.aws/credentials   [NAME]           aws_access_key_id, aws_secret_access_key, aws_session_token
//! ~/.aws/config        [profile NAME]   the same, region, endpoint_url; `[default]` has no `profile` before it
//! ```
//!
//! Profiles that get their keys from elsewhere (SSO, `credential_process`, an assumed role) are refused by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::variables::Variables;
use crate::{Error, Result};

/// Settings that are taken, and the variables that they stand for.
const TAKEN: [(&str, &str); 5] = [
    ("aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    ("aws_session_token", "AWS_SESSION_TOKEN"),
    ("region", "AWS_REGION"),
    ("endpoint_url", "AWS_ENDPOINT_URL"),
];
/// Settings that name another source of keys.
const NOT_READ: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "role_arn", "web_identity_token_file"];
/// Variables that say where keys come from, so that no profile is looked for.
const INSTEAD: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"];

/// Adds to the variables of stores what the profile says and they do not. `all` names the profile, its files and the home
/// folder.
///
/// # Errors
/// `Error::Config` if a profile is named that is not there, or if it has no keys that are written down.
pub(super) fn complete(stores: &mut Variables, all: &Variables) -> Result<()> {
    if INSTEAD.iter().any(|name| stores.get(name).is_some()) {
        return Ok(());
    }
    let name = all.get("AWS_PROFILE").unwrap_or("default");
    let Some(profile) = read(name, all)? else {
        let Some(name) = all.get("AWS_PROFILE") else { return Ok(()) };
        return Err(Error::Config {
            message: format!(
                "AWS_PROFILE names the profile `{name}`, which is not in the files of the AWS command line"
            ),
            hint: Some("`aws configure list-profiles` lists what is there".into()),
        });
    };
    let has_keys = profile.contains_key("aws_access_key_id");
    if let (false, Some(source)) = (has_keys, NOT_READ.iter().find(|source| profile.contains_key(**source))) {
        return Err(Error::Config {
            message: format!("the AWS profile `{name}` gets its keys by `{source}`, which is not supported"),
            hint: Some(format!("eval \"$(aws configure export-credentials --profile '{name}' --format env)\"")),
        });
    }
    for (setting, variable) in TAKEN {
        let is_given = match variable {
            "AWS_REGION" => stores.get("AWS_REGION").or(stores.get("AWS_DEFAULT_REGION")).is_some(),
            "AWS_ENDPOINT_URL" => stores.get("AWS_ENDPOINT_URL").or(stores.get("AWS_ENDPOINT")).is_some(),
            _ => false,
        };
        if let (false, Some(value)) = (is_given, profile.get(setting)) {
            stores.set(variable, value);
        }
    }
    Ok(())
}

type Profile = BTreeMap<String, String>;

/// The profile, if either file has it; the file of credentials goes before the other.
fn read(name: &str, all: &Variables) -> Result<Option<Profile>> {
    let file = |variable: &str, usual: &str| {
        let home = all.get("HOME").or(all.get("USERPROFILE"));
        let usual = home.map(|home| PathBuf::from(home).join(".aws").join(usual));
        all.get(variable).map(PathBuf::from).or(usual)
    };
    let in_config = if name == "default" { vec!["default".to_owned()] } else { vec![format!("profile {name}")] };
    let mut found = None;
    for (path, sections) in [
        (file("AWS_CONFIG_FILE", "config"), in_config),
        (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), vec![name.to_owned()]),
    ] {
        let Some(path) = path else { continue };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Error::Unreadable { location: path.display().to_string(), source: Box::new(error) });
            }
        };
        for section in sections {
            if let Some(settings) = settings_of(&text, &section) {
                found.get_or_insert_with(Profile::new).extend(settings);
            }
        }
    }
    Ok(found)
}

/// The settings of a section; those that are indented belong to a setting before them, and are passed over.
fn settings_of(text: &str, section: &str) -> Option<Profile> {
    let mut found = None;
    let mut is_inside = false;
    for line in text.lines() {
        if let Some(header) = line.trim_end().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let words: Vec<&str> = header.0.split_whitespace().collect();
            is_inside = words.join(" ") == section;
            if is_inside {
                found.get_or_insert_with(Profile::new);
            }
        } else if let (true, Some(settings), Some((key, value))) = (is_inside, &mut found, line.split_once('='))
            && !line.starts_with([' ', '\t', '#', ';'])
        {
            settings.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = DEFAULTKEY\naws_secret_access_key=default/secret=\n\
        [work]\n# of the team\naws_access_key_id = WORKKEY\naws_secret_access_key = worksecret\naws_session_token = token\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  region = nonsense\n[profile work]\nregion = us-west-2\n\
        endpoint_url = https://s3.example\n[profile  sso]\nsso_session = corp\nregion = eu-north-1\n\
        [profile process]\ncredential_process = /bin/keys\n[sso-session corp]\nsso_start_url = https://x\n";

    fn completed(more: &[(&str, &str)]) -> Result<Variables> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        let home = [("HOME", home.path().to_str().unwrap())];
        let all = Variables::new(home.into_iter().chain(more.iter().copied()));
        let mut stores = all.of_stores();
        complete(&mut stores, &all)?;
        Ok(stores)
    }

    #[test]
    fn keys_of_the_named_profile_or_the_default_one() {
        let found = completed(&[]).unwrap();
        assert_eq!(found.get("AWS_ACCESS_KEY_ID"), Some("DEFAULTKEY"));
        assert_eq!(found.get("AWS_SECRET_ACCESS_KEY"), Some("default/secret="));
        assert_eq!((found.get("AWS_REGION"), found.get("AWS_SESSION_TOKEN")), (Some("eu-west-1"), None));
        let found = completed(&[("AWS_PROFILE", "work"), ("AWS_DEFAULT_REGION", "here")]).unwrap();
        assert_eq!((found.get("AWS_ACCESS_KEY_ID"), found.get("AWS_SESSION_TOKEN")), (Some("WORKKEY"), Some("token")));
        assert_eq!(found.get("AWS_ENDPOINT_URL"), Some("https://s3.example"));
        assert_eq!((found.get("AWS_REGION"), found.get("AWS_DEFAULT_REGION")), (None, Some("here")));
    }

    #[test]
    fn keys_of_the_variables_go_before_any_profile() {
        for variable in INSTEAD {
            let found = completed(&[(variable, "given"), ("AWS_PROFILE", "none such")]).unwrap();
            assert_eq!(
                found.iter().filter(|(name, _)| *name != "AWS_PROFILE").collect::<Vec<_>>(),
                [(variable, "given")]
            );
        }
    }

    #[test]
    fn what_is_not_read_is_refused_by_name() {
        for (profile, expect) in [("sso", "sso_session"), ("process", "credential_process"), ("corp", "`corp`")] {
            let error = completed(&[("AWS_PROFILE", profile)]).unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
        }
    }

    #[test]
    fn without_files_nothing_is_added() {
        let all = Variables::new([("HOME", "/none/such"), ("AWS_REGION", "eu")]);
        let mut stores = all.of_stores();
        complete(&mut stores, &all).unwrap();
        assert_eq!(stores, Variables::new([("AWS_REGION", "eu")]));
    }
}
