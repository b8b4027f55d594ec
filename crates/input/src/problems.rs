//! What is wrong with a file: the first problems one by one, of the rest only the number.

use crate::shown::visible;

/// Problems that are shown one by one: all of them in almost any file that a person can mend by hand.
pub const PROBLEMS_SHOWN: usize = 100;

/// One problem and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The name of the column, or what stands for it.
    pub column: String,
    /// What is wrong, and the way out.
    pub what: String,
}

/// Everything that is wrong with one row.
#[derive(Debug, Default)]
pub struct Faults(Vec<Problem>);

impl Faults {
    /// What a column holds, or a note of what is wrong with it.
    pub fn keep<T>(&mut self, found: Result<T, Problem>) -> Option<T> {
        found.map_err(|problem| self.0.push(problem)).ok()
    }

    /// One more.
    pub fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// The row's verdict.
    pub fn verdict(self) -> Result<(), Faults> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Problem> for Faults {
    fn from(problem: Problem) -> Faults {
        Faults(vec![problem])
    }
}

/// Why nothing of a file was taken.
#[derive(Debug, Default)]
pub struct Problems {
    first: Vec<Problem>,
    total: u64,
}

impl Problems {
    /// Notes one.
    pub fn add(&mut self, problem: Problem) {
        self.total += 1;
        if self.first.len() < PROBLEMS_SHOWN {
            self.first.push(problem);
        }
    }

    /// Notes what is wrong with a row.
    pub fn add_all(&mut self, faults: Faults) {
        faults.0.into_iter().for_each(|problem| self.add(problem));
    }

    /// These, and so many in all.
    pub fn of(first: Vec<Problem>, total: u64) -> Problems {
        Problems { first, total }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// One line for each, and how many there are. `nothing` says what did not happen, such as `nothing was imported`.
    pub fn report(&self, file: &str, nothing: &str) -> String {
        let mut lines: Vec<String> = self
            .first
            .iter()
            .map(|problem| {
                let (column, what) = (visible(&problem.column), visible(&problem.what));
                format!("{file}:{}:{column}: {what}", problem.line)
            })
            .collect();
        let shown = self.first.len() as u64;
        lines.push(match (self.total, self.total - shown) {
            (1, _) => format!("{nothing}: 1 error"),
            (total, 0) => format!("{nothing}: {total} errors"),
            (total, _) => format!("{nothing}: {total} errors, of which these are the first {shown}"),
        });
        lines.join("\n")
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems { first: vec![problem], total: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_its_column_is_called() {
        let problem = Problem { line: 2, column: "na\r\nme".to_owned(), what: "`a\u{200b}\nb` is unknown".to_owned() };
        let report = Problems::from(problem).report("f.csv", "nothing was imported");
        assert_eq!(
            report,
            "f.csv:2:na<U+000D><U+000A>me: `a<U+200B><U+000A>b` is unknown\nnothing was imported: 1 error"
        );
    }
}
