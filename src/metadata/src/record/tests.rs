//! Records as bytes: what is not one is an error, however it is broken.

use proptest::prelude::*;

use super::*;

fn samples() -> Vec<Record> {
    vec![
        Record::Cluster { cluster_id: "cluster".to_owned() },
        Record::Topic { name: "orders".to_owned(), id: Uuid([7; 16]) },
        Record::Config {
            resource: ConfigResource::Topic("orders".to_owned()),
            name: "retention.ms".to_owned(),
            value: Some("5".to_owned()),
        },
        Record::RemoveTopic { id: Uuid([7; 16]) },
        Record::Adopted { broker: BrokerId(3) },
    ]
}

#[test]
fn every_cut_of_a_record_is_an_error() {
    for record in samples() {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        for len in 0..bytes.len() {
            assert!(Record::decode(&bytes[..len]).is_err(), "{record:?} cut at {len}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Record::decode(&longer).is_err(), "{record:?} with a byte behind it");
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = samples()[0].encode();
    bytes[0] = bytes[0].wrapping_add(1);
    let error = Record::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("version") || error.contains("newer"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // Nothing to expect but that it returns.
        let _ = Record::decode(&bytes);
        let mut marked = vec![FORMAT_VERSION];
        marked.extend(&bytes);
        if let Ok(record) = Record::decode(&marked) {
            prop_assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
    }
}
