//! Streams of bytes cut into frames, headers, and whole requests and responses over them.

mod schema;

use bytes::{Bytes, BytesMut};
use protocol::frame::{
    FrameDecoder, FrameError, HeaderError, decode_request_header, decode_response_header,
    encode_request, encode_response,
};
use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, SaslHandshakeRequest,
};
use protocol::{ApiKey, Decode, Encode, EncodeError, StrBytes, UnknownApiKey, Writer};
use schema::Random;

const FRAME_BYTES_MAX: usize = 300_000;

fn joined(chunks: Vec<Bytes>) -> Bytes {
    let mut all = BytesMut::new();
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}

#[test]
fn any_cut_of_a_stream_gives_the_same_frames() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let frames: Vec<Vec<u8>> = (0..random.below(8))
            .map(|_| {
                let limit = [1, 10, 5_000, 70_000][random.below(4)];
                (0..random.below(limit)).map(|_| random.next() as u8).collect()
            })
            .collect();
        let mut stream = Vec::new();
        for frame in &frames {
            stream.extend((frame.len() as i32).to_be_bytes());
            stream.extend(frame);
        }
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
        let mut found = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let buffer = decoder.buffer();
            let room = buffer.capacity() - buffer.len();
            assert!(room > 0, "a read of no byte would look like the end of the stream");
            let (piece, behind) =
                rest.split_at((1 + random.below(9_000)).min(rest.len()).min(room));
            buffer.extend_from_slice(piece);
            rest = behind;
            while let Some(frame) = decoder.next_frame().expect("good lengths") {
                found.push(frame.to_vec());
            }
        }
        assert_eq!(found, frames);
        assert_eq!(decoder.buffered_bytes(), 0);
    }
}

#[test]
fn a_length_is_judged_before_its_bytes_come() {
    let check = |length: i32| {
        let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
        decoder.buffer().extend_from_slice(&length.to_be_bytes());
        decoder.next_frame()
    };
    assert_eq!(check(FRAME_BYTES_MAX as i32), Ok(None));
    let length = FRAME_BYTES_MAX + 1;
    assert_eq!(check(length as i32), Err(FrameError::TooLarge { length, max: FRAME_BYTES_MAX }));
    assert_eq!(check(-1), Err(FrameError::NegativeLength { length: -1 }));
    assert_eq!(check(0), Ok(Some(Bytes::new())));
}

#[test]
fn requests_and_responses_cross_the_wire() {
    let client_id = StrBytes::from_static("test");
    let request = ApiVersionsRequest {
        client_software_name: "klamm".into(),
        client_software_version: "0.1".into(),
        ..ApiVersionsRequest::default()
    };
    for version in 0..=4 {
        let request = if version < 3 { ApiVersionsRequest::default() } else { request.clone() };
        let bytes =
            joined(encode_request(&request, version, 77, Some(&client_id)).expect("encodes"));
        let length = i32::from_be_bytes(*bytes.first_chunk().expect("a length"));
        assert_eq!(length as usize, bytes.len() - 4);
        let mut frame = decode_request_header(bytes.slice(4..)).expect("a header");
        assert_eq!(frame.api_key, ApiKey::ApiVersions);
        assert_eq!((frame.api_version, frame.correlation_id), (version, 77));
        assert_eq!(frame.client_id.as_deref(), Some("test"));
        assert_eq!(ApiVersionsRequest::decode(&mut frame.body, version), Ok(request));
        assert_eq!(frame.body.finish(), Ok(()));

        let response = ApiVersionsResponse { error_code: 35, ..ApiVersionsResponse::default() };
        let bytes = encode_response(&response, ApiKey::ApiVersions, version, 77).expect("encodes");
        let bytes = joined(bytes).slice(4..);
        assert_eq!(bytes[..6], [0, 0, 0, 77, 0, 35], "the header has no tagged fields");
        let (correlation_id, mut body) =
            decode_response_header(bytes, ApiKey::ApiVersions, version, 1 << 20).expect("a header");
        assert_eq!(correlation_id, 77);
        assert_eq!(ApiVersionsResponse::decode(&mut body, version), Ok(response));
    }
}

#[test]
fn a_newer_api_versions_is_read_as_far_as_it_has_to_be() {
    let bytes = [0, 18, 0x7f, 0, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef];
    let frame = decode_request_header(Bytes::copy_from_slice(&bytes)).expect("a header");
    assert_eq!((frame.api_version, frame.correlation_id), (0x7f00, 9));
}

#[test]
fn headers_that_are_none_are_errors() {
    let check = |bytes: &[u8]| {
        decode_request_header(Bytes::copy_from_slice(bytes)).map(|frame| frame.api_key)
    };
    let unknown = HeaderError::ApiKey(UnknownApiKey(4));
    assert_eq!(check(&[0, 4, 0, 0, 0, 0, 0, 1]), Err(unknown));
    assert!(matches!(check(&[0, 3, 0, 12, 0, 0]), Err(HeaderError::Decode(_))));
    assert!(matches!(check(&[0, 3, 0, 12, 0, 0, 0, 1, 0, 9, b'x']), Err(HeaderError::Decode(_))));
    // Version 1 of SaslHandshake has the old header, without tagged fields.
    let bytes =
        joined(encode_request(&SaslHandshakeRequest::default(), 1, 1, None).expect("encodes"));
    assert_eq!(check(&bytes[4..]), Ok(ApiKey::SaslHandshake));
}

#[test]
fn versions_without_a_field_do_not_lose_it_in_silence() {
    let request =
        MetadataRequest { allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let encode = |version| request.encode(&mut Writer::new(), version);
    let error = EncodeError::FieldNotInVersion { field: "AllowAutoTopicCreation", version: 3 };
    assert_eq!(encode(3), Err(error));
    assert_eq!(encode(4), Ok(()));
}
