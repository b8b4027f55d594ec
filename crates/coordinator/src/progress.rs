//! Progress bars: on stderr, and only on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How a bar looks while its end is known, and a text while it is not.
const BAR: &str = "{msg} [{wide_bar}] {percent}% {eta}";
const BYTES: &str = "{msg} [{wide_bar}] {bytes} of {total_bytes} {eta}";
const SPINNER: &str = "{spinner} {msg} {elapsed}";

/// Of so many bytes, if it is known how many.
pub fn bytes(size: Option<u64>, what: &str) -> ProgressBar {
    size.map_or_else(|| spinner(what), |size| styled(ProgressBar::new(size), BYTES, what))
}

/// Of so many steps.
pub fn steps(count: u64, what: &str) -> ProgressBar {
    styled(ProgressBar::new(count), BAR, what)
}

/// Of who knows what.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = styled(ProgressBar::new_spinner(), SPINNER, what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// From here on nobody knows how long it takes.
pub fn now_unknown(bar: &ProgressBar, what: &str) {
    restyle(bar, SPINNER);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
}

fn styled(bar: ProgressBar, template: &str, what: &str) -> ProgressBar {
    restyle(&bar, template);
    bar.with_message(what.to_owned())
}

fn restyle(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}
