//! Versions that Kafka 4 no longer serves and old clients still send: messages as kafka-clients 3.9.1
//! wrote them from random values, since newer Java classes lack them.

use bytes::Bytes;
use protocol::{Message, Reader, Writer};

const WRITTEN_BY_3_9: &[(&str, i16, &str)] = &[
    (
        "CreateTopicsRequest",
        0,
        "000000020009c3a92d5ae282ac2e618882db8ea8d800000003fffeeb3e000000037ff20333fffffffe1eab0cbcabb52eaa000000036081fcd90000000256a659c117e2e70a000000030a4261eb004b604c5cb0d6eb0000000300022e30ffff00096161c3a95a302d5a2e0002302e00055a2d2e302dffff001061612dc3a9e282ac2d2ee282ac612d610004aabc692600000000000000005d195dca",
    ),
    (
        "CreateTopicsRequest",
        1,
        "000000020009c3a92d5ae282ac2e618882db8ea8d800000003fffeeb3e000000037ff20333fffffffe1eab0cbcabb52eaa000000036081fcd90000000256a659c117e2e70a000000030a4261eb004b604c5cb0d6eb0000000300022e30ffff00096161c3a95a302d5a2e0002302e00055a2d2e302dffff001061612dc3a9e282ac2d2ee282ac612d610004aabc692600000000000000005d195dca01",
    ),
    (
        "CreateTopicsResponse",
        0,
        "000000020007612dc3a92d5a2eb84e000e61c3a930c3a96161302e61c3a92eb561",
    ),
    ("CreateTopicsResponse", 1, "000000020006615a2de282ac0000ffff0000001f0009c3a930c3a9e282ac30"),
    (
        "DeleteTopicsRequest",
        0,
        "0000000200085ac3a9c3a9c3a930000f302dc3a930e282ace282ac5a302e2d40689c28",
    ),
    (
        "DeleteTopicsRequest",
        1,
        "0000000200085ac3a9c3a9c3a930000f302dc3a930e282ace282ac5a302e2d40689c28",
    ),
    (
        "DeleteTopicsResponse",
        0,
        "000000020007612dc3a92d5a2eb84e000e61c3a930c3a96161302e61c3a92eb561",
    ),
    (
        "DeleteTopicsResponse",
        1,
        "ffffffee0000000300065a2e5a5a303008d8000e30302d305ac3a9c3a92d2de282ac0657000006f0",
    ),
    (
        "DescribeConfigsRequest",
        0,
        "000000025a0008c3a961c3a92d2e2e00000000bc00022d2d0000000100035a612e",
    ),
    ("DescribeConfigsRequest", 1, "00000002ff000be282ac2e612ec3a9c3a92d00000000ef000130ffffffff00"),
    (
        "DescribeConfigsResponse",
        0,
        "68bfa9b200000002b93effff40000a2d61e282ac615a2d2d2e00000000ef1f000e2e2d2d612d5a61c3a92d61e282ac8d0009c3a92e2d2d2e30306100000001000ac3a92d2d2d61e282ac2d0007c3a9e282ac305a010100",
    ),
    (
        "DescribeConfigsResponse",
        1,
        "68bfa9b200000002b93effff40000a2d61e282ac615a2d2d2e00000000ef1f000e2e2d2d612d5a61c3a92d61e282ac8d0009c3a92e2d2d2e30306100000001000ac3a92d2d2d61e282ac2d0007c3a9e282ac305a01950000000001000f305a30e282ac2de282ac2de282ac2e00013027",
    ),
];

fn again<M: Message>(version: i16, bytes: Bytes) -> Bytes {
    let mut reader = Reader::new(bytes);
    let message = M::decode(&mut reader, version).expect("Kafka's bytes");
    reader.finish().expect("nothing behind them");
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("encodes what it decoded");
    writer.into_bytes()
}

fn again_by_name(name: &str, version: i16, bytes: Bytes) -> Bytes {
    macro_rules! find {
        ($($message:path),* $(,)?) => {
            $(if name == <$message as Message>::NAME {
                return again::<$message>(version, bytes);
            })*
        };
    }
    protocol::for_each_message!(find);
    panic!("{name} is unknown")
}

#[test]
fn old_clients_are_understood() {
    for &(name, version, hex) in WRITTEN_BY_3_9 {
        let digits = (0..hex.len()).step_by(2);
        let bytes = digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a byte"));
        let bytes = Bytes::from_iter(bytes);
        assert_eq!(again_by_name(name, version, bytes.clone()), bytes, "{name} {version}");
    }
}
