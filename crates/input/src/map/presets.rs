//! Mappings that are built in, one for each system that many come from. They are files like any other: printed, they can be changed and used.

use super::{Mapping, Wanted};
use crate::kinds::FileKind;

/// A mapping that is built in.
#[derive(Debug)]
pub struct Preset {
    /// What it is called.
    pub name: &'static str,
    /// Whose export it reads.
    pub of: &'static str,
    /// What it says.
    pub text: &'static str,
}

/// All of them.
pub static PRESETS: [Preset; 6] = [
    Preset { name: "awin", of: "Awin", text: include_str!("presets/awin.toml") },
    Preset { name: "cj", of: "CJ", text: include_str!("presets/cj.toml") },
    Preset { name: "impact", of: "Impact", text: include_str!("presets/impact.toml") },
    Preset {
        name: "post-affiliate-pro",
        of: "Post Affiliate Pro",
        text: include_str!("presets/post-affiliate-pro.toml"),
    },
    Preset { name: "rewardful", of: "Rewardful", text: include_str!("presets/rewardful.toml") },
    Preset { name: "tapfiliate", of: "Tapfiliate", text: include_str!("presets/tapfiliate.toml") },
];

impl Preset {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Whether it reads a file of this kind with these columns.
    pub(crate) fn reads(&self, names: &[String], kind: &'static FileKind) -> bool {
        // What an export does not say is set beside it.
        let currency = [("currency".to_owned(), String::new())];
        let wanted = Mapping::parse(self.name, self.text).ok().and_then(|mapping| {
            let alone = Wanted::new(&mapping, &[], None, kind);
            alone.or_else(|_| Wanted::new(&mapping, &currency, None, kind)).ok()
        });
        wanted.is_some_and(|wanted| wanted.set().is_none() && wanted.missing(names).is_empty())
    }
}
