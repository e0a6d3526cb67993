//! Records, units and their columns: how a driver parts and joins them, and what may become of them on their way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, UInt32Array,
};
use arrow::compute::{SortColumn, kernels::numeric::add};
use arrow::compute::{
    concat_batches, filter_record_batch, is_not_null, lexsort_to_indices, sort_to_indices, take_record_batch,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

/// Of each unit, the values of its records in the order of their keys.
pub fn lists(n_units: usize, records: &RecordBatch, key: &str, value: &str) -> ListArray {
    let records = sorted(records, &["unit", key]);
    let (units, values) = (int64s(&records, "unit"), int64s(&records, value));
    let of_unit = |unit: usize| {
        // What is of earlier runs is of no unit.
        let rows = (0..records.num_rows()).filter(|&row| units.is_valid(row) && units.value(row) == unit as i64);
        Some(rows.map(|row| Some(values.value(row))).collect::<Vec<_>>())
    };
    ListArray::from_iter_primitive::<Int64Type, _, _>((0..n_units).map(of_unit))
}

/// Rows of which a scan tells the id.
pub fn n_given_ids(scanned: &RecordBatch) -> usize {
    let ids = column(scanned, "id_key");
    ids.len() - ids.null_count()
}

/// What a scan says of units as a whole.
pub fn summaries(scanned: &RecordBatch) -> RecordBatch {
    filter_record_batch(scanned, &is_not_null(column(scanned, "summary")).unwrap()).unwrap()
}

pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
}

pub fn int64s<'a>(batch: &'a RecordBatch, name: &str) -> &'a Int64Array {
    column(batch, name).as_primitive()
}

/// Records of kind 2 with the columns of `like`.
pub fn members_as_records(like: &RecordBatch, members: &[(i64, i64)]) -> RecordBatch {
    records(like, 2, &members.iter().map(|&(first, other)| (first, other, "")).collect::<Vec<_>>())
}

/// Records of kind 32 with the columns of `like`.
pub fn usage_as_records(like: &RecordBatch, used: &[String]) -> RecordBatch {
    records(like, 32, &used.iter().map(|used| (0, 0, used.as_str())).collect::<Vec<_>>())
}

/// Records of a kind: `a`, `b` and payload.
fn records(like: &RecordBatch, kind: i64, of: &[(i64, i64, &str)]) -> RecordBatch {
    let n_rows = of.len();
    let columns = like.schema_ref().fields().iter().map(|field| match field.name().as_str() {
        "kind" => Arc::new(Int64Array::from(vec![kind; n_rows])) as ArrayRef,
        "a" => Arc::new(of.iter().map(|(a, ..)| Some(*a)).collect::<Int64Array>()),
        "b" => Arc::new(of.iter().map(|(_, b, _)| Some(*b)).collect::<Int64Array>()),
        "similarity" => Arc::new(Float64Array::from(vec![0.0; n_rows])),
        "payload" => Arc::new(BinaryArray::from_iter_values(of.iter().map(|(.., payload)| payload))),
        _ => Arc::new(Int64Array::from(vec![0; n_rows])),
    });
    RecordBatch::try_new(like.schema(), columns.collect()).unwrap()
}

pub fn of_kinds(records: &RecordBatch, kinds: &[i64]) -> RecordBatch {
    let is_of: BooleanArray = int64s(records, "kind").values().iter().map(|kind| Some(kinds.contains(kind))).collect();
    filter_record_batch(records, &is_of).unwrap()
}

/// The units with what becomes of their rows.
pub fn with_fate(placed: &RecordBatch, decided: Option<&RecordBatch>) -> RecordBatch {
    let Some(decided) = decided else {
        let none = || ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(Vec::new()); placed.num_rows()]);
        return ["dropped", "rules", "kept", "counts"]
            .iter()
            .fold(placed.clone(), |units, name| with_list(&units, name, none()));
    };
    let dropped = of_kinds(decided, &[7]);
    let stay = of_kinds(decided, &[8, 36]);
    let [units, rows, counts] = ["unit", "a", "c"].map(|name| int64s(&stay, name));
    let keeps_cuts = |record: usize| int64s(&stay, "kind").value(record) == 36 && int64s(&stay, "b").value(record) == 1;
    let mut kept = vec![BTreeMap::new(); placed.num_rows()];
    for record in (0..stay.num_rows()).filter(|&record| units.is_valid(record) && !keeps_cuts(record)) {
        *kept[units.value(record) as usize].entry(rows.value(record)).or_insert(0) += counts.value(record);
    }
    let of_kept = |value: fn((&i64, &i64)) -> i64| {
        let of_unit = |rows: &BTreeMap<i64, i64>| Some(rows.iter().map(|row| Some(value(row))).collect::<Vec<_>>());
        ListArray::from_iter_primitive::<Int64Type, _, _>(kept.iter().map(of_unit))
    };
    let n_units = placed.num_rows();
    let columns = [
        ("dropped", lists(n_units, &dropped, "b", "b")),
        ("rules", lists(n_units, &dropped, "b", "rule")),
        ("kept", of_kept(|(row, _)| *row)),
        ("counts", of_kept(|(_, count)| *count)),
    ];
    columns.into_iter().fold(placed.clone(), |units, (name, lists)| with_list(&units, name, lists))
}

/// Records of the paragraphs that several rows have, and of these rows.
pub fn of_several_rows(divided: &RecordBatch) -> RecordBatch {
    let (kinds, rows) = (int64s(divided, "kind").values(), int64s(divided, "a").values());
    let keys = column(divided, "payload").as_binary::<i32>();
    let paragraphs = || (0..kinds.len()).filter(|&record| kinds[record] == 35);
    let mut rows_of: HashMap<&[u8], HashSet<i64>> = HashMap::new();
    for record in paragraphs() {
        rows_of.entry(keys.value(record)).or_default().insert(rows[record]);
    }
    let is_shared = |record: usize| kinds[record] == 35 && rows_of[keys.value(record)].len() > 1;
    let having: HashSet<i64> = paragraphs().filter(|&record| is_shared(record)).map(|record| rows[record]).collect();
    let is_of = |record: usize| is_shared(record) || kinds[record] == 34 && having.contains(&rows[record]);
    filter_record_batch(divided, &(0..kinds.len()).map(|record| Some(is_of(record))).collect::<BooleanArray>()).unwrap()
}

/// Records of drops of rows that labels speak of.
pub fn drops_of_named(decided: &RecordBatch, texts: &RecordBatch) -> RecordBatch {
    let ids = of_kinds(texts, &[11]);
    let named = int64s(&ids, "a").values();
    let drops = of_kinds(decided, &[7]);
    let is_named: BooleanArray = int64s(&drops, "b").values().iter().map(|row| Some(named.contains(row))).collect();
    filter_record_batch(&drops, &is_named).unwrap()
}

/// Records of some units.
pub fn of_units(records: &RecordBatch, start: usize, n_units: usize) -> RecordBatch {
    let units = start as i64..(start + n_units) as i64;
    let is_of: BooleanArray = int64s(records, "unit").values().iter().map(|unit| Some(units.contains(unit))).collect();
    filter_record_batch(records, &is_of).unwrap()
}

/// The units that have rows in their column of that name.
pub fn having_rows(units: &RecordBatch) -> RecordBatch {
    let has_rows = column(units, "rows").as_list::<i32>().iter().map(|list| Some(!list.unwrap().is_empty()));
    filter_record_batch(units, &has_rows.collect::<BooleanArray>()).unwrap()
}

/// Units with the payloads that records of a kind have for them.
pub fn with_payloads(units: &RecordBatch, name: &str, records: &RecordBatch, kind: i64) -> RecordBatch {
    let found = of_kinds(records, &[kind]);
    let (of, payloads) = (int64s(&found, "unit"), column(&found, "payload").as_binary::<i32>());
    let of_unit: HashMap<i64, &[u8]> = of.values().iter().copied().zip(payloads.iter().flatten()).collect();
    let payloads: ArrayRef =
        Arc::new((0..units.num_rows() as i64).map(|unit| of_unit.get(&unit).copied()).collect::<BinaryArray>());
    let payloads = RecordBatch::try_from_iter_with_nullable([(name, payloads, true)]).unwrap();
    with_columns(units, &payloads, &[name])
}

/// The records, the last one first.
pub fn reversed(records: &RecordBatch) -> RecordBatch {
    let order: UInt32Array = (0..records.num_rows() as u32).rev().map(Some).collect();
    take_record_batch(records, &order).unwrap()
}

/// The records without the first one of a kind.
pub fn without_first(records: &RecordBatch, kind: i64) -> RecordBatch {
    let first = int64s(records, "kind").values().iter().position(|of_record| *of_record == kind).expect("there is one");
    let others: BooleanArray = (0..records.num_rows()).map(|record| Some(record != first)).collect();
    filter_record_batch(records, &others).unwrap()
}

/// The records, the second one of a kind also in place of the first one.
pub fn second_for_first(records: &RecordBatch, kind: i64) -> RecordBatch {
    let kinds = int64s(records, "kind").values();
    let mut of_kind = (0..kinds.len()).filter(|&record| kinds[record] == kind);
    let (first, second) = (of_kind.next().expect("there is one"), of_kind.next().expect("there are two"));
    let order: UInt32Array =
        (0..kinds.len()).map(|record| Some(if record == first { second } else { record } as u32)).collect();
    take_record_batch(records, &order).unwrap()
}

/// Units without what a column of lists or of payloads says of them.
pub fn without(units: &RecordBatch, name: &str) -> RecordBatch {
    let Some((index, field)) = units.schema_ref().column_with_name(name) else { return units.clone() };
    let nothing: ArrayRef = match field.data_type() {
        DataType::List(_) => {
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
                Some(Vec::<Option<i64>>::new());
                units.num_rows()
            ]))
        }
        _ => Arc::new(BinaryArray::from(vec![None::<&[u8]>; units.num_rows()])),
    };
    let mut columns = units.columns().to_vec();
    columns[index] = nothing;
    RecordBatch::try_new(units.schema(), columns).unwrap()
}

/// The records twice.
pub fn twice(records: &RecordBatch) -> RecordBatch {
    concat_batches(&records.schema(), [records, records]).unwrap()
}

pub fn without_kind(records: &RecordBatch, kind: i64) -> RecordBatch {
    let others: Vec<i64> = (0..100).filter(|other| *other != kind).collect();
    of_kinds(records, &others)
}

pub fn sorted(batch: &RecordBatch, by: &[&str]) -> RecordBatch {
    let columns: Vec<SortColumn> =
        by.iter().map(|name| SortColumn { values: Arc::clone(column(batch, name)), options: None }).collect();
    take_record_batch(batch, &lexsort_to_indices(&columns, None).unwrap()).unwrap()
}

pub fn with_columns(batch: &RecordBatch, other: &RecordBatch, names: &[&str]) -> RecordBatch {
    let mut columns: Vec<(Arc<Field>, ArrayRef)> =
        batch.schema().fields().iter().cloned().zip(batch.columns().iter().cloned()).collect();
    for name in names {
        let (_, field) = other.schema_ref().fields().find(name).map(|(index, field)| (index, field.clone())).unwrap();
        columns.push((field, Arc::clone(column(other, name))));
    }
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

pub fn with_list(batch: &RecordBatch, name: &str, lists: ListArray) -> RecordBatch {
    let lists: ArrayRef = Arc::new(lists);
    with_columns(batch, &RecordBatch::try_from_iter([(name, lists)]).unwrap(), &[name])
}

/// The rows with their positions in the whole input, in their order.
pub fn positioned(rows: &RecordBatch, places: &RecordBatch) -> RecordBatch {
    let starts = add(int64s(places, "base_row"), int64s(places, "first_row")).unwrap();
    let starts = starts.as_primitive::<Int64Type>();
    let of_rows: Int64Array =
        int64s(rows, "unit").values().iter().map(|&unit| Some(starts.value(unit as usize))).collect();
    let positions = add(int64s(rows, "row"), &of_rows).unwrap();
    let order = sort_to_indices(&positions, None, None).unwrap();
    let mut columns = rows.columns().to_vec();
    columns[rows.schema().index_of("row").unwrap()] = positions;
    let rows = RecordBatch::try_new(Arc::new(Schema::new(rows.schema().fields().clone())), columns).unwrap();
    take_record_batch(&rows, &order).unwrap()
}
