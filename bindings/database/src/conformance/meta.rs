//! `meta` of contract section 1.5.

use super::{Case, Outcome, Place, always, equal};
use crate::driver::{Capabilities, Statement};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case { name: "meta_tells_what_a_write_changed", needs: always, trial: changes },
        Case {
            name: "a_new_table_changes_the_database_also_where_it_takes_free_pages",
            needs: always,
            trial: reused_pages,
        },
        Case {
            name: "changes_of_a_full_text_index_leave_out_what_it_puts_off",
            needs: |can| can.d1_limits,
            trial: full_text_changes,
        },
        Case { name: "meta_of_a_query_changes_nothing", needs: always, trial: query },
        Case { name: "the_version_grows_with_writes_only", needs: always, trial: version },
        Case { name: "rows_are_counted_as_d1_counts_them", needs: row_counts, trial: row_counts_as_asserted },
        Case { name: "rows_written_count_indexes_and_not_scratch_tables", needs: row_counts, trial: index_counts },
    ]
}

fn row_counts(can: Capabilities) -> bool {
    can.row_counts
}

fn changes(place: &Place) -> Outcome {
    let made = place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a)")?.meta;
    equal("a new table changes the database", &made.changed_db, &true)?;
    equal("but no row", &made.changes, &0)?;
    let first = place.run("INSERT INTO t VALUES (7, 1), (9, 1)")?.meta;
    equal("changes", &first.changes, &2)?;
    equal("last_row_id", &first.last_row_id, &9)?;
    equal("changed_db", &first.changed_db, &true)?;
    equal("size_after is whole pages", &(first.size_after > 0 && first.size_after % 512 == 0), &true)?;
    let none = place.run("UPDATE t SET a = 2 WHERE id = 100")?.meta;
    equal("changes of a write that met nothing", &none.changes, &0)?;
    equal("changed_db of a write that met nothing", &none.changed_db, &false)?;
    equal("deleted", &place.run("DELETE FROM t")?.meta.changes, &2)?;
    let two = place.run("INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (2, 1)")?.meta;
    equal("changes of two inserts in one text", &two.changes, &2)?;
    equal("time passes", &(two.duration_ms > 0.0), &true)
}

fn reused_pages(place: &Place) -> Outcome {
    place.run("CREATE TABLE kept (a)")?;
    let before = place.run("SELECT 1")?.meta.size_after;
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let made = place.run("CREATE TABLE t (a)")?.meta;
        equal("a table that is made changes the database", &made.changed_db, &true)?;
        let removed = place.run("DROP TABLE t")?.meta;
        equal("so does one that is removed", &removed.changed_db, &true)?;
        sizes.push((made.size_after > before, removed.size_after));
    }
    equal("free pages do not count", &sizes, &vec![(true, before); 3])?;
    let batch = place.call(vec![Statement::new("CREATE TABLE t (a)"), Statement::new("DROP TABLE t")])?;
    let changed: Vec<bool> = batch.iter().map(|result| result.meta.changed_db).collect();
    equal("in a batch", &changed, &vec![true, true])?;
    let none = place.run("CREATE TABLE IF NOT EXISTS kept (a)")?.meta;
    equal("a table that was there", &none.changed_db, &false)
}

fn full_text_changes(place: &Place) -> Outcome {
    place.run("CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)")?;
    place.run("CREATE VIRTUAL TABLE search USING fts5(title, content='posts', content_rowid='id')")?;
    place.run(
        "CREATE TRIGGER added AFTER INSERT ON posts BEGIN INSERT INTO search(rowid, title) VALUES (new.id, new.title); END",
    )?;
    let insert = "INSERT INTO posts (title) VALUES ('x')";
    for _ in 0..3 {
        let meta = place.run(insert)?.meta;
        equal("one row", &(meta.changes, meta.rows_written), &(3, 2))?;
    }
    let batch = place.call(vec![Statement::new(insert), Statement::new(insert), Statement::new("SELECT 1")])?;
    let changes: Vec<u64> = batch.iter().map(|result| result.meta.changes).collect();
    equal("in a batch", &changes, &vec![3, 3, 0])?;
    place.run("CREATE VIRTUAL TABLE alone USING fts5(a, b)")?;
    let meta = place.run("INSERT INTO alone VALUES ('a', 'b'), ('c', 'd'), ('e', 'f')")?.meta;
    equal("three rows", &(meta.changes, meta.rows_written), &(9, 3))?;
    equal("one more", &place.run("INSERT INTO alone VALUES ('g', 'h')")?.meta.changes, &3)?;
    equal("a removed one", &place.run("DELETE FROM alone WHERE rowid = 2")?.meta.changes, &3)?;
    equal("rows are found", &place.run("SELECT rowid FROM alone WHERE alone MATCH 'g'")?.rows().len(), &1)
}

fn query(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY)")?;
    let written = place.run("INSERT INTO t VALUES (5)")?.meta;
    let read = place.run("SELECT * FROM t")?.meta;
    equal("changes", &read.changes, &0)?;
    equal("changed_db", &read.changed_db, &false)?;
    equal("last_row_id is that of the last insert", &read.last_row_id, &5)?;
    equal("size_after", &read.size_after, &written.size_after)
}

fn version(place: &Place) -> Outcome {
    let made = place.run("CREATE TABLE t (a)")?.meta.version;
    let read = place.run("SELECT * FROM t")?.meta.version;
    equal("a query leaves it", &read, &made)?;
    let batch = place.call(vec![Statement::new("INSERT INTO t VALUES (1)"), Statement::new("SELECT 1")])?;
    equal("a write raises it", &(batch[0].meta.version > read), &true)?;
    equal("one version a call", &batch[1].meta.version, &batch[0].meta.version)?;
    equal("a number of JavaScript can hold it", &(batch[0].meta.version < (1 << 53)), &true)
}

fn row_counts_as_asserted(place: &Place) -> Outcome {
    place.run("CREATE TABLE movies (id INTEGER PRIMARY KEY, title TEXT NOT NULL, year INTEGER)")?;
    let insert = place.run("INSERT INTO movies VALUES (1, 'Jaws', 1975)")?.meta;
    equal("plain insert", &(insert.changes, insert.rows_read, insert.rows_written), &(1, 1, 1))?;
    let returning = place.run("INSERT INTO movies VALUES (2, 'Alien', 1979) RETURNING *")?.meta;
    equal("insert returning", &(returning.changes, returning.rows_read, returning.rows_written), &(1, 2, 1))?;
    let two = "INSERT INTO movies VALUES (3, 'Brazil', 1985); INSERT INTO movies VALUES (4, 'Heat', 1995)";
    let two = place.run(two)?.meta;
    equal("two inserts", &(two.changes, two.rows_read, two.rows_written), &(2, 1, 1))?;
    place.run("DELETE FROM movies WHERE id = 4")?;
    // The second run takes the statement from a cache, and counters must have started over.
    for _ in 0..2 {
        let all = place.run("SELECT * FROM movies")?.meta;
        equal("select of three rows", &(all.rows_read, all.rows_written, all.changes), &(3, 0, 0))?;
    }
    let one = place.run("SELECT * FROM movies WHERE id = 2")?.meta;
    equal("select by key", &one.rows_read, &1)?;
    let count = place.run("SELECT count(*) FROM movies")?.meta;
    equal("count(*)", &count.rows_read, &3)?;
    let several = place.run("INSERT INTO movies VALUES (7, 'a', 1), (8, 'b', 1), (9, 'c', 1)")?.meta;
    equal("three rows of one insert", &(several.rows_read, several.rows_written), &(3, 3))?;
    place.run("CREATE INDEX movies_year ON movies (year)")?;
    equal("a value that is not there", &place.run("SELECT * FROM movies WHERE year = 3")?.meta.rows_read, &0)?;
    equal("a value that is there", &place.run("SELECT * FROM movies WHERE year = 1985")?.meta.rows_read, &1)?;
    equal("rows of a function", &place.run("SELECT * FROM json_each('[1, 2, 3]')")?.meta.rows_read, &3)?;
    equal("rows of a pragma", &place.run("SELECT * FROM pragma_table_info('movies')")?.meta.rows_read, &3)?;
    place.run("CREATE TABLE casts (movie INTEGER REFERENCES movies)")?;
    let parents = place.run("INSERT INTO movies VALUES (11, 'd', 1), (12, 'e', 1)")?.meta;
    equal("rows that others may refer to", &parents.rows_read, &2)?;
    let picked = place.run("SELECT * FROM movies WHERE title IN ('Jaws', 'Heat')")?.meta;
    equal("select with IN writes nothing", &picked.rows_written, &0)
}

fn index_counts(place: &Place) -> Outcome {
    place.run("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)")?;
    place.run("CREATE INDEX t_a ON t (a)")?;
    place.run("CREATE INDEX t_b ON t (b)")?;
    let insert = place.run("INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)")?.meta;
    equal("insert into a table with two indexes", &(insert.changes, insert.rows_written), &(2, 6))?;
    equal("an index of two rows", &place.run("CREATE INDEX t_a_b ON t (a, b)")?.meta.rows_written, &3)?;
    equal("an index that goes", &place.run("DROP INDEX t_a_b")?.meta.rows_written, &0)?;
    let update = place.run("UPDATE t SET a = 5 WHERE id = 1")?.meta;
    equal("update of one indexed column", &(update.changes, update.rows_written), &(1, 2))?;
    let delete = place.run("DELETE FROM t WHERE id = 1")?.meta;
    equal("delete", &(delete.changes, delete.rows_written), &(1, 1))?;
    let sorted = place.run("SELECT DISTINCT a FROM t ORDER BY b, a")?.meta;
    equal("a query that sorts", &sorted.rows_written, &0)
}
