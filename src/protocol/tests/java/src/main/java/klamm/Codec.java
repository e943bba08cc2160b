package klamm;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.Readable;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

/**
 * Answers the questions of a file with Kafka's own codec, a line for a line:
 *
 * <pre>
 * message NAME VERSION HEX   decodes and encodes again   -> HEX | absent | error ...
 * random NAME VERSION SEED   a message of its own        -> HEX | absent
 * batch HEX                  reads a batch               -> RECORDS | error ...
 * build CODEC SEED           writes a batch of its own   -> HEX RECORDS
 * </pre>
 */
public final class Codec {
    private static final HexFormat HEX = HexFormat.of();
    private static final String[] PACKAGES = {
        "org.apache.kafka.common.message.",
        "org.apache.kafka.coordinator.group.generated.",
        "org.apache.kafka.coordinator.transaction.generated.",
        "org.apache.kafka.coordinator.share.generated.",
    };
    private static final int TIMESTAMP_RANGE_MS = 1_000_000;

    public static void main(String[] args) throws Exception {
        try (BufferedReader in = Files.newBufferedReader(Path.of(args[0]));
                BufferedWriter out = Files.newBufferedWriter(Path.of(args[1]))) {
            for (String line; (line = in.readLine()) != null; ) {
                out.write(answer(line.split(" ", -1)));
                out.write('\n');
            }
        }
    }

    private static String answer(String[] words) {
        try {
            switch (words[0]) {
                case "message":
                    return again(words[1], Short.parseShort(words[2]), HEX.parseHex(words[3]));
                case "random":
                    return random(words[1], Short.parseShort(words[2]), Long.parseLong(words[3]));
                case "batch":
                    return batch(HEX.parseHex(words[1]));
                case "build":
                    return build(words[1], Long.parseLong(words[2]));
                default:
                    return "error: no such question";
            }
        } catch (ReflectiveOperationException | RuntimeException e) {
            Throwable cause = e.getCause() == null ? e : e.getCause();
            return "error: " + String.valueOf(cause).replace('\n', ' ');
        }
    }

    private static Class<?> find(String name) {
        for (String prefix : PACKAGES) {
            for (String suffix : new String[] {"Data", ""}) {
                try {
                    return Class.forName(prefix + name + suffix);
                } catch (ClassNotFoundException e) {
                    // The next one.
                }
            }
        }
        return null;
    }

    private static boolean has(Class<?> type, short version) throws ReflectiveOperationException {
        if (type == null) {
            return false;
        }
        Message message = (Message) type.getDeclaredConstructor().newInstance();
        return message.lowestSupportedVersion() <= version
            && version <= message.highestSupportedVersion();
    }

    private static String again(String name, short version, byte[] bytes)
            throws ReflectiveOperationException {
        Class<?> type = find(name);
        if (!has(type, version)) {
            return "absent";
        }
        ByteBuffer input = ByteBuffer.wrap(bytes);
        Message message = (Message) type.getConstructor(Readable.class, short.class)
            .newInstance(new ByteBufferAccessor(input), version);
        if (input.hasRemaining()) {
            return "error: " + input.remaining() + " bytes left";
        }
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBufferAccessor output =
            new ByteBufferAccessor(ByteBuffer.allocate(message.size(cache, version)));
        message.write(output, cache, version);
        return HEX.formatHex(output.buffer().array());
    }

    /** Kafka's schema objects write a random struct; its generated class makes it canonical. */
    private static String random(String name, short version, long seed)
            throws ReflectiveOperationException {
        Class<?> type = find(name);
        if (!has(type, version)) {
            return "absent";
        }
        Schema schema = ((Schema[]) type.getField("SCHEMAS").get(null))[version];
        Struct struct = struct(schema, new Random(seed));
        ByteBuffer buffer = ByteBuffer.allocate(schema.sizeOf(struct));
        schema.write(buffer, struct);
        return again(name, version, buffer.array());
    }

    private static Struct struct(Schema schema, Random random) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            struct.set(field, value(field.def.type, random));
        }
        return struct;
    }

    private static Object value(Type type, Random random) {
        if (type.isNullable() && random.nextInt(4) == 0) {
            return null;
        }
        if (type instanceof Schema) {
            return struct((Schema) type, random);
        }
        if (type instanceof TaggedFields) {
            return tagged((TaggedFields) type, random);
        }
        if (type.isArray()) {
            List<Object> elements = new ArrayList<>();
            for (int count = random.nextInt(4); count > 0; count--) {
                elements.add(value(type.arrayElementType().orElseThrow(), random));
            }
            return elements.toArray();
        }
        long number = random.nextLong() >> random.nextInt(64);
        String name = ((Type.DocumentedType) type).typeName();
        switch (name) {
            case "BOOLEAN": return (number & 1) == 1;
            case "INT8": return (byte) number;
            case "INT16": return (short) number;
            case "UINT16": return (int) (number & 0xffff);
            case "INT32": return (int) number;
            case "UINT32": return number & 0xffff_ffffL;
            case "INT64": return number;
            case "FLOAT64": return random.nextDouble();
            case "UUID": return new org.apache.kafka.common.Uuid(random.nextLong(), number);
            case "STRING":
            case "COMPACT_STRING":
            case "NULLABLE_STRING":
            case "COMPACT_NULLABLE_STRING": return text(random);
            case "BYTES":
            case "COMPACT_BYTES":
            case "NULLABLE_BYTES":
            case "COMPACT_NULLABLE_BYTES": return ByteBuffer.wrap(bytes(random));
            case "RECORDS":
            case "COMPACT_RECORDS":
            case "NULLABLE_RECORDS":
            case "COMPACT_NULLABLE_RECORDS":
                return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes(random)));
            default: throw new IllegalArgumentException("type " + name);
        }
    }

    private static TreeMap<Integer, Object> tagged(TaggedFields type, Random random) {
        TreeMap<Integer, Object> fields = new TreeMap<>();
        for (Map.Entry<Integer, Field> field : type.fields().entrySet()) {
            if (random.nextBoolean()) {
                Type content = field.getValue().type;
                // A null struct has two forms here: the schema writes -1, the generated class 0.
                Object value = content instanceof Schema
                    ? struct((Schema) content, random) : value(content, random);
                fields.put(field.getKey(), value);
            }
        }
        if (random.nextInt(4) == 0) {
            int tag = 4 + random.nextInt(1000);
            fields.put(tag, new RawTaggedField(tag, bytes(random)));
        }
        return fields;
    }

    private static String text(Random random) {
        String letters = "aZ0-.\u00e9\u20ac";
        StringBuilder text = new StringBuilder();
        for (int count = random.nextInt(random.nextInt(20) == 0 ? 200 : 12); count > 0; count--) {
            text.append(letters.charAt(random.nextInt(letters.length())));
        }
        return text.toString();
    }

    private static byte[] bytes(Random random) {
        byte[] bytes = new byte[random.nextInt(random.nextInt(20) == 0 ? 3000 : 40)];
        random.nextBytes(bytes);
        return bytes;
    }

    private static String batch(byte[] bytes) {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(bytes));
        StringBuilder text = new StringBuilder();
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            text.append(describe(batch));
        }
        return text.toString();
    }

    private static String describe(RecordBatch batch) {
        StringBuilder text = new StringBuilder();
        text.append(batch.compressionType().name).append('/').append(batch.baseOffset())
            .append('/').append(batch.lastOffset()).append('/').append(batch.maxTimestamp())
            .append('/').append(batch.producerId()).append('/').append(batch.producerEpoch())
            .append('/').append(batch.baseSequence()).append('/').append(batch.isTransactional())
            .append('/').append(batch.isControlBatch());
        for (Record record : batch) {
            text.append(';').append(record.offset()).append(',').append(record.timestamp())
                .append(',').append(hex(record.key())).append(',').append(hex(record.value()));
            for (Header header : record.headers()) {
                byte[] key = header.key().getBytes(StandardCharsets.UTF_8);
                byte[] value = header.value();
                text.append(',').append(HEX.formatHex(key)).append('=')
                    .append(value == null ? "null" : HEX.formatHex(value));
            }
        }
        return text.toString();
    }

    private static String hex(ByteBuffer buffer) {
        if (buffer == null) {
            return "null";
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return HEX.formatHex(bytes);
    }

    private static String build(String codec, long seed) {
        Random random = new Random(seed);
        Compression compression = Compression.of(CompressionType.forName(codec)).build();
        ByteBuffer buffer = ByteBuffer.allocate(1 << 16);
        long start = 1_700_000_000_000L;
        MemoryRecordsBuilder builder = MemoryRecords.builder(buffer, RecordBatch.CURRENT_MAGIC_VALUE,
            compression, TimestampType.CREATE_TIME, 0L, start, random.nextInt(100), (short) 3,
            random.nextInt(100), random.nextBoolean(), RecordBatch.NO_PARTITION_LEADER_EPOCH);
        for (int count = 1 + random.nextInt(30); count > 0; count--) {
            Header[] headers = new Header[random.nextInt(3)];
            for (int at = 0; at < headers.length; at++) {
                headers[at] = new RecordHeader(text(random), random.nextBoolean() ? bytes(random) : null);
            }
            builder.append(start + random.nextInt(TIMESTAMP_RANGE_MS),
                random.nextBoolean() ? bytes(random) : null,
                random.nextInt(8) == 0 ? null : bytes(random), headers);
        }
        MemoryRecords records = builder.build();
        byte[] bytes = new byte[records.sizeInBytes()];
        records.buffer().duplicate().get(bytes);
        return HEX.formatHex(bytes) + " " + batch(bytes);
    }
}
