//! People: who may do what. A person is known by a token, never by a name that was typed.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::{PersonId, TenantId};

/// What a person is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks and steers.
    Operator,
    /// Looks, steers, and decides with another.
    Approver,
    /// Looks, steers, and manages people. Does not decide: who can make people could otherwise make the second one too.
    Administrator,
}

/// What somebody may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// See runs, payouts and people.
    Look,
    /// Start, pause, resume and cancel.
    Steer,
    /// Be one of the two whose word frees money or says what became of it.
    Decide,
    /// Add, revoke and replace people.
    Manage,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Approver, Role::Administrator];

    /// The one place that says what a role may do.
    pub fn may(self, act: Act) -> bool {
        match (self, act) {
            (_, Act::Look) => true,
            (Role::Operator | Role::Approver | Role::Administrator, Act::Steer) => true,
            (Role::Approver, Act::Decide) => true,
            (Role::Administrator, Act::Manage) => true,
            (Role::Viewer, Act::Steer) => false,
            (Role::Viewer | Role::Operator | Role::Administrator, Act::Decide) => false,
            (Role::Viewer | Role::Operator | Role::Approver, Act::Manage) => false,
        }
    }

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Approver => "approver",
            Role::Administrator => "administrator",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is not a role: viewer, operator, approver or administrator"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Act::Look => "look at this",
            Act::Steer => "steer runs",
            Act::Decide => "decide",
            Act::Manage => "manage people",
        })
    }
}

/// How a person is called: letters, digits and `. - _ ' @ +`, words apart by one space. Names are equal without regard
/// to case and space around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonName(String);

const NAME_MAX: usize = 64;

impl PersonName {
    /// As it was given, without space around.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is compared.
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }
}

impl FromStr for PersonName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let fit = |c: char| c.is_alphanumeric() || " .-_'@+".contains(c);
        match !name.is_empty() && name.chars().count() <= NAME_MAX && name.chars().all(fit) {
            true => Ok(PersonName(name)),
            false => Err("a name is 1 to 64 letters, digits, spaces and . - _ ' @ +".to_owned()),
        }
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Somebody whose token was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The number inside.
    pub id: PersonId,
    /// How they are called.
    pub name: String,
    /// What they are there for.
    pub role: Role,
    /// Of which tenant; `None` is of all.
    pub tenant: Option<TenantId>,
}

/// Why somebody may not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Their role is for something else.
    #[error("{name} is {role}, who may not {act}; {}", way_out(*.act))]
    Role {
        /// Who.
        name: String,
        /// What they are.
        role: Role,
        /// What they tried.
        act: Act,
    },
    /// It is not their tenant's.
    #[error("{name} belongs to another tenant than this; ask somebody of this tenant, or of all")]
    OtherTenant {
        /// Who.
        name: String,
    },
}

fn way_out(act: Act) -> &'static str {
    match act {
        Act::Look => "any token will do",
        Act::Steer => "ask an operator, an approver or an administrator",
        Act::Decide => "ask an approver",
        Act::Manage => "ask an administrator",
    }
}

impl Person {
    /// Whether they may do this to what belongs to a tenant, or, with `None`, to all of them.
    pub fn may(&self, act: Act, tenant: Option<TenantId>) -> Result<(), NotAllowed> {
        if !self.role.may(act) {
            return Err(NotAllowed::Role { name: self.name.clone(), role: self.role, act });
        }
        match self.tenant {
            Some(own) if tenant != Some(own) => Err(NotAllowed::OtherTenant { name: self.name.clone() }),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a token begins with, so that people and secret scanners know one when they see it.
const TOKEN_PREFIX: &str = "payfleet_";

/// What is known of a token where it is kept: its SHA-256. A token has 256 random bits, so nobody can guess what it
/// hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash(pub [u8; 32]);

/// A text that no token can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a token: a token is `payfleet_` and 64 digits of 0-9 and a-f, as `people add` printed it")]
pub struct NoToken;

impl TokenHash {
    /// A new token of these random bytes, to be shown once, and what is kept of it.
    pub fn of_new(random: [u8; 32]) -> (String, TokenHash) {
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = format!("{TOKEN_PREFIX}{digits}");
        let hash = TokenHash(Sha256::digest(token.as_bytes()).into());
        (token, hash)
    }

    /// Of a token that somebody shows. Space around it is not part of it.
    pub fn of(token: &str) -> Result<TokenHash, NoToken> {
        let token = token.trim();
        let digits = token.strip_prefix(TOKEN_PREFIX).ok_or(NoToken)?;
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match digits.len() == 64 && digits.bytes().all(digit) {
            true => Ok(TokenHash(Sha256::digest(token.as_bytes()).into())),
            false => Err(NoToken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(role: Role, tenant: Option<i32>) -> Person {
        Person { id: PersonId(1), name: "Ann".to_owned(), role, tenant: tenant.map(TenantId) }
    }

    #[test]
    fn a_role_may_do_this_and_nothing_else() {
        use Act::*;
        let table: [(Role, &[Act]); 4] = [
            (Role::Viewer, &[Look]),
            (Role::Operator, &[Look, Steer]),
            (Role::Approver, &[Look, Steer, Decide]),
            (Role::Administrator, &[Look, Steer, Manage]),
        ];
        for (role, acts) in table {
            let may: Vec<Act> = [Look, Steer, Decide, Manage].into_iter().filter(|act| role.may(*act)).collect();
            assert_eq!(may, acts, "{role}");
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("Viewer".parse::<Role>().is_err());
    }

    #[test]
    fn nobody_both_makes_people_and_decides() {
        assert!(!Role::ALL.into_iter().any(|role| role.may(Act::Decide) && role.may(Act::Manage)));
    }

    #[test]
    fn a_person_of_one_tenant_has_no_say_in_another_or_in_all() {
        let (ours, theirs) = (Some(TenantId(1)), Some(TenantId(2)));
        let (one, all) = (person(Role::Approver, Some(1)), person(Role::Approver, None));
        assert_eq!(one.may(Act::Decide, ours), Ok(()));
        let other = Err(NotAllowed::OtherTenant { name: "Ann".to_owned() });
        assert_eq!((one.may(Act::Decide, theirs), one.may(Act::Decide, None)), (other.clone(), other));
        assert_eq!((all.may(Act::Decide, theirs), all.may(Act::Decide, None)), (Ok(()), Ok(())));
        let refused = person(Role::Administrator, None).may(Act::Decide, ours).map_err(|error| error.to_string());
        assert_eq!(refused, Err("Ann is administrator, who may not decide; ask an approver".to_owned()));
    }

    #[test]
    fn names_are_compared_without_case_and_space_around() {
        let name = |text: &str| text.parse::<PersonName>();
        let key = |text: &str| name(text).map(|name| name.key());
        assert_eq!(key("  Ann   O'Neil "), key("ann o'neil"));
        assert_eq!(key("Åsa"), key("åsa"));
        assert_ne!(key("ann"), key("anne"));
        assert_eq!(name(" Ann ").map(|name| name.to_string()), Ok("Ann".to_owned()));
        for wrong in ["", "   ", "ann\u{200b}", "a\u{7}b", "<b>", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_recognised_and_only_its_hash_is_needed() {
        let (token, hash) = TokenHash::of_new([0xab; 32]);
        assert_eq!(token, format!("payfleet_{}", "ab".repeat(32)));
        assert_eq!(TokenHash::of(&format!(" {token}\n")), Ok(hash));
        assert_ne!(TokenHash::of_new([0xac; 32]).1, hash);
        for wrong in ["", "payfleet_", &token[..72], &token.to_uppercase(), &"ab".repeat(32), &format!("{token}0")] {
            assert_eq!(TokenHash::of(wrong), Err(NoToken), "{wrong}");
        }
    }
}
