package driver;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.PrintStream;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.utils.AppInfoParser;

/** Drives kafka-clients by JSON lines; see the README of the clients for the language. */
public final class Main {
    static final ObjectMapper JSON = new ObjectMapper();

    /** One operation of the language. */
    interface Operation {
        JsonNode run(JsonNode command) throws Exception;
    }

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        Map<String, Operation> operations = new TreeMap<>();
        Administration administration = new Administration(arguments[0]);
        administration.offer(operations);
        new Producing(arguments[0]).offer(operations);
        new Consuming(arguments[0]).offer(operations);
        answer(out, "ok", hello(operations));
        JsonParser in = JSON.createParser(System.in);
        for (JsonNode command = in.readValueAsTree(); command != null; command = in.readValueAsTree()) {
            try {
                Operation operation = operations.get(command.get("op").asText());
                answer(out, "ok", operation.run(command));
            } catch (Exception error) {
                error.printStackTrace();
                answer(out, "error", failure(error));
            }
        }
        administration.close();
    }

    private static ObjectNode hello(Map<String, Operation> operations) {
        ObjectNode hello = JSON.createObjectNode();
        hello.put("client", "kafka-clients").put("version", AppInfoParser.getVersion());
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            hello.withArray("codecs").add(codec);
        }
        operations.keySet().forEach(hello.withArray("operations")::add);
        return hello;
    }

    private static void answer(PrintStream out, String kind, JsonNode content) throws Exception {
        out.println(JSON.writeValueAsString(JSON.createObjectNode().set(kind, content)));
        out.flush();
    }

    private static ObjectNode failure(Throwable error) {
        while (error instanceof ExecutionException && error.getCause() != null) {
            error = error.getCause();
        }
        // The consumer's own exception is no ApiException with a code of its own.
        Errors code = error instanceof OffsetOutOfRangeException
            ? Errors.OFFSET_OUT_OF_RANGE : Errors.forException(error);
        return JSON.createObjectNode()
            .put("class", error.getClass().getName())
            .put("code", code.name())
            .put("message", String.valueOf(error.getMessage()));
    }
}
