//! What is wrong with a destination, in words that say where, and what to do.

use std::borrow::Cow;

use super::DestinationKind;
use super::letters::named;

/// Why a text is no destination of its kind. Letters are counted from 1, without the space before the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing but space.
    #[error("is empty")]
    Empty,
    /// Longer than any can be.
    #[error("is longer than {most} bytes; shorten it")]
    TooLong {
        /// Bytes.
        most: usize,
    },
    /// A letter without a shape, or one that only moves others about: it comes along when texts are copied.
    #[error("letter {at} is {}, which nobody sees; remove it", named(*.letter))]
    Invisible {
        /// Which letter.
        at: usize,
        /// What it is.
        letter: char,
    },
    /// A space that is not the one of the keyboard, or one where none may be.
    #[error("letter {at} is {}; no space may be inside: remove it", named(*.letter))]
    Space {
        /// Which letter.
        at: usize,
        /// What it is.
        letter: char,
    },
    /// A letter that is taken for another one by people, and is another one for computers (Unicode Technical Standard
    /// 39).
    #[error("letter {at} is {}, which looks like {like}; type it anew", named(*.letter))]
    LooksLike {
        /// Which letter.
        at: usize,
        /// What it is.
        letter: char,
        /// What people take it for.
        like: char,
    },
    /// A letter of another script than those beside it.
    #[error("letter {at} is {}, of another script than the letters beside it; type it anew", named(*.letter))]
    OtherScript {
        /// Which letter.
        at: usize,
        /// What it is.
        letter: char,
    },
    /// A letter that no destination of the kind can have.
    #[error("letter {at} is {}, which cannot be in {}; remove or correct it", named(*.letter), one_of(*.kind))]
    NotAllowed {
        /// Which letter.
        at: usize,
        /// What it is.
        letter: char,
        /// Of which kind.
        kind: DestinationKind,
    },
    /// Something before the destination that is not part of it.
    #[error("begins with `{label}`, which is not part of it; remove that")]
    Label {
        /// As it stands there.
        label: String,
    },
    /// More than one in one field.
    #[error("there is more than one e-mail address; give one, and another in a row of its own with another `priority`")]
    Several,
    /// It does not have the form of its kind.
    #[error("is not {}: {what}", one_of(*.kind))]
    Form {
        /// Of which kind.
        kind: DestinationKind,
        /// What it lacks, or what it must be.
        what: Cow<'static, str>,
    },
}

/// The kind in a sentence.
fn one_of(kind: DestinationKind) -> &'static str {
    match kind {
        DestinationKind::Email => "an e-mail address",
        DestinationKind::Iban => "an IBAN",
        DestinationKind::PaypalId => "a PayPal id",
        DestinationKind::Phone => "a telephone number",
        DestinationKind::StripeAccount => "a Stripe account",
        DestinationKind::WiseRecipient => "a recipient of Wise",
        DestinationKind::UsBank => "an account at a bank of the United States",
        DestinationKind::Opaque => "a destination",
    }
}
