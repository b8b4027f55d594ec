//! What is wrong with a file: the first problems one by one, of the rest only the number.

use payfleet_store::PROBLEMS_SHOWN;

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

/// Why nothing of a file was imported.
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

    /// These, and so many in all.
    pub fn of(first: Vec<Problem>, total: u64) -> Problems {
        Problems { first, total }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// One line for each, and how many there are.
    pub fn report(&self, file: &str) -> String {
        let mut lines: Vec<String> = self
            .first
            .iter()
            .map(|problem| format!("{file}:{}:{}: {}", problem.line, one_line(&problem.column), problem.what))
            .collect();
        let shown = self.first.len() as u64;
        lines.push(match (self.total, self.total - shown) {
            (1, _) => "nothing was imported: 1 error".to_owned(),
            (total, 0) => format!("nothing was imported: {total} errors"),
            (total, _) => format!("nothing was imported: {total} errors, of which these are the first {shown}"),
        });
        lines.join("\n")
    }
}

/// A column is called what the file's header says, and a name in quotes may hold line breaks.
fn one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_its_column_is_called() {
        let problem = Problem { line: 2, column: "na\r\nme".to_owned(), what: "is unknown".to_owned() };
        let report = Problems::of(vec![problem], 1).report("f.csv");
        assert_eq!(report, "f.csv:2:na\\r\\nme: is unknown\nnothing was imported: 1 error");
    }
}
