//! What is no CSV: told by its first bytes, so that the one sentence that is said names the cause, and not what a CSV reader stumbles over.

/// What the bytes are, with the way out; nothing if they may be text.
pub(crate) fn binary(begin: &[u8]) -> Option<&'static str> {
    const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    const ARCHIVES: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "a gzip archive; unpack it (`gunzip FILE`), and hand in what is in it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it, and hand in what is in it"),
        (b"Rar!\x1a\x07", "a RAR archive; unpack it, and hand in what is in it"),
        (b"BZh", "a bzip2 archive; unpack it (`bunzip2 FILE`), and hand in what is in it"),
        (b"\xfd7zXZ\0", "an xz archive; unpack it (`unxz FILE`), and hand in what is in it"),
        (b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it (`unzstd FILE`), and hand in what is in it"),
        (b"PK\x05\x06", "an empty ZIP archive; hand in the CSV file itself"),
    ];
    const OTHERS: [(&[u8], &str); 6] = [
        (b"%PDF-", "a PDF; no amounts are read from a printed page: export the data as CSV"),
        (b"{\\rtf", "a text document (RTF); export the data as CSV"),
        (b"\x89PNG", "a picture; export the data as CSV"),
        (b"\xff\xd8\xff", "a picture; export the data as CSV"),
        (b"PAR1", "a Parquet file; export the data as CSV"),
        (b"SQLite format 3\0", "a SQLite database; export the table as CSV"),
    ];
    if begin.starts_with(b"PK\x03\x04") {
        return Some(zip(begin));
    }
    if begin.starts_with(OLE) {
        return Some(
            "an Excel workbook of the old kind (.xls), or one with a password; open it, and save the sheet as `CSV UTF-8`",
        );
    }
    if begin.get(257..262) == Some(b"ustar") {
        return Some("a tar archive; unpack it (`tar -xf FILE`), and hand in what is in it");
    }
    ARCHIVES.iter().chain(&OTHERS).find(|(magic, _)| begin.starts_with(magic)).map(|(_, what)| *what)
}

/// Workbooks are ZIP archives too. Names of their parts stand uncompressed at the beginning.
fn zip(begin: &[u8]) -> &'static str {
    let has = |name: &[u8]| begin.windows(name.len()).any(|window| window == name);
    if has(b"application/vnd.oasis.opendocument.spreadsheet") {
        "an OpenDocument workbook (.ods); open it, and save the sheet as CSV in UTF-8"
    } else if has(b"xl/") || has(b"[Content_Types].xml") {
        "an Excel workbook (.xlsx); open it, and save the sheet as `CSV UTF-8`"
    } else if has(b"Index/") || has(b".iwa") {
        "a Numbers workbook; open it, and export the sheet as CSV in UTF-8"
    } else {
        "a ZIP archive; unpack it (`unzip FILE`), and hand in what is in it"
    }
}

/// The same of a text.
pub(crate) fn text(begin: &str) -> Option<&'static str> {
    let begin = begin.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let begin: String = begin.chars().take(4096).collect::<String>().to_lowercase();
    let head = &begin;
    if head.starts_with('<') {
        return Some(if begin.contains("urn:schemas-microsoft-com:office:spreadsheet") {
            "an Excel workbook as XML; open it, and save the sheet as `CSV UTF-8`"
        } else if begin.contains("urn:iso:std:iso:20022") {
            "a message of a bank as XML (ISO 20022); ask for the statement as CSV"
        } else if begin.contains("<html") || begin.contains("<!doctype html") || begin.contains("<table") {
            "a web page, perhaps one that asks to log in; download the export again, as CSV"
        } else {
            "XML; export the data as CSV"
        });
    }
    // One bracket or several, and then a string, a number or an object. A name in brackets is a heading.
    let inner = head.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
    let is_list =
        head.starts_with('[') && inner.starts_with(|c: char| matches!(c, '"' | '{' | ']') || c.is_ascii_digit());
    let after_brace = head.strip_prefix('{').map(str::trim_start);
    if is_list || after_brace.is_some_and(|rest| rest.starts_with(['"', '}'])) {
        return Some("JSON; export the data as CSV");
    }
    if head.starts_with(":20:") || head.starts_with("{1:f01") {
        return Some("a statement of a bank as MT940; ask for it as CSV");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_table_is_named() {
        let zip = |name: &str| [b"PK\x03\x04\x14\0\x06\0", &[0; 22][..], name.as_bytes(), &[7; 40]].concat();
        for (bytes, expected) in [
            (zip("[Content_Types].xml"), "an Excel workbook (.xlsx)"),
            (zip("mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "an OpenDocument workbook"),
            (zip("Index/Document.iwa"), "a Numbers workbook"),
            (zip("commissions.csv"), "a ZIP archive"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0".to_vec(), "an Excel workbook of the old kind"),
            (b"\x1f\x8b\x08\0".to_vec(), "a gzip archive"),
            (b"7z\xbc\xaf\x27\x1c\0".to_vec(), "a 7-Zip archive"),
            (b"Rar!\x1a\x07\x01\0".to_vec(), "a RAR archive"),
            (b"%PDF-1.7\n".to_vec(), "a PDF"),
            ([&[0; 257][..], b"ustar\x0000"].concat(), "a tar archive"),
        ] {
            assert!(binary(&bytes).is_some_and(|what| what.starts_with(expected)), "{expected}: {:?}", binary(&bytes));
        }
        for (begin, expected) in [
            ("\n<!DOCTYPE html><html>", Some("a web page")),
            ("<table><tr><td>1</td>", Some("a web page")),
            (
                "<?xml version=\"1.0\"?><Workbook xmlns=\"urn:schemas-microsoft-com:office:spreadsheet\">",
                Some("an Excel"),
            ),
            (
                "\u{feff}<?xml version=\"1.0\"?><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053\">",
                Some("a message"),
            ),
            ("<?xml version=\"1.0\"?><rows/>", Some("XML")),
            ("[\n  {\"id\": 1}]", Some("JSON")),
            ("{\"id\": 1}\n{\"id\": 2}", Some("JSON")),
            (":20:STARTUMS\r\n", Some("a statement of a bank")),
            // A table whose first name is in brackets is one all the same.
            ("[id],name\n", None),
            ("[[COMMISSIONS]]\n!TRANSID,!USERID\n", None),
            ("commission_id,affiliate_id\n", None),
        ] {
            let found = text(begin);
            assert_eq!(found.is_some(), expected.is_some(), "{begin}: {found:?}");
            assert!(found.unwrap_or("").starts_with(expected.unwrap_or("")), "{begin}: {found:?}");
        }
    }
}
