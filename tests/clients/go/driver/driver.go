// Package driver is the loop around a Kafka client that obeys JSON lines; see
// the README of the clients for the language.
package driver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
)

// Hello is the first line a driver prints.
type Hello struct {
	Client     string   `json:"client"`
	Version    string   `json:"version"`
	Codecs     []string `json:"codecs"`
	Operations []string `json:"operations"`
}

// Header of a record: a name and bytes, or a nil value.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes the pair form of the language.
func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.Name, h.Value}) }

// UnmarshalJSON reads the pair form of the language.
func (h *Header) UnmarshalJSON(data []byte) error {
	var pair [2]json.RawMessage
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if err := json.Unmarshal(pair[0], &h.Name); err != nil {
		return err
	}
	return json.Unmarshal(pair[1], &h.Value)
}

// Record as it is produced and read; a nil key or value is null.
type Record struct {
	Topic         string   `json:"topic,omitempty"`
	Partition     int32    `json:"partition"`
	Offset        int64    `json:"offset"`
	Timestamp     int64    `json:"timestamp"`
	TimestampType *string  `json:"timestamp_type"`
	Key           []byte   `json:"key"`
	Value         []byte   `json:"value"`
	Headers       []Header `json:"headers"`
}

// Range of offsets of one partition to read.
type Range struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	End       int64  `json:"end"`
}

// Command is one line of input; an operation uses the fields it needs.
type Command struct {
	Op                string             `json:"op"`
	Topic             string             `json:"topic"`
	Partition         int32              `json:"partition"`
	Partitions        json.RawMessage    `json:"partitions"`
	ReplicationFactor int16              `json:"replication_factor"`
	Configs           map[string]*string `json:"configs"`
	Resource          string             `json:"resource"`
	Name              string             `json:"name"`
	Set               map[string]string  `json:"set"`
	Delete            []string           `json:"delete"`
	Total             int32              `json:"total"`
	Before            int64              `json:"before"`
	Codec             string             `json:"codec"`
	Acks              int                `json:"acks"`
	Idempotent        bool               `json:"idempotent"`
	BytesMax          int32              `json:"bytes_max"`
	Records           []Record           `json:"records"`
	ValueBytes        int                `json:"value_bytes"`
	At                json.RawMessage    `json:"at"`
	Group             string             `json:"group"`
	Protocol          string             `json:"protocol"`
	Offsets           [][2]int64         `json:"offsets"`
}

// PartitionCount reads `partitions` as a number.
func (c *Command) PartitionCount() (n int32, err error) {
	return n, json.Unmarshal(c.Partitions, &n)
}

// Ranges reads `partitions` as ranges.
func (c *Command) Ranges() (r []Range, err error) { return r, json.Unmarshal(c.Partitions, &r) }

// AtWord is `at` as a word, or "" and the time.
func (c *Command) AtWord() (string, int64, error) {
	var word string
	if json.Unmarshal(c.At, &word) == nil {
		return word, 0, nil
	}
	var time int64
	return "", time, json.Unmarshal(c.At, &time)
}

// PartitionInfo of a described topic.
type PartitionInfo struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	Isr       []int32 `json:"isr"`
}

// TopicInfo answers describe_topic.
type TopicInfo struct {
	ID         *string         `json:"id"`
	Partitions []PartitionInfo `json:"partitions"`
}

// ConfigInfo is one entry of describe_config.
type ConfigInfo struct {
	Value     *string `json:"value"`
	Source    *string `json:"source"`
	ReadOnly  bool    `json:"read_only"`
	Sensitive bool    `json:"sensitive"`
}

// BrokerInfo is one broker of describe_cluster.
type BrokerInfo struct {
	ID   int32  `json:"id"`
	Host string `json:"host"`
	Port int32  `json:"port"`
}

// ClusterInfo answers describe_cluster.
type ClusterInfo struct {
	ClusterID string       `json:"cluster_id"`
	Brokers   []BrokerInfo `json:"brokers"`
}

// Position answers offset_for.
type Position struct {
	Offset    *int64 `json:"offset"`
	Timestamp *int64 `json:"timestamp"`
}

// Failure is what a driver says about an error.
type Failure struct {
	Class   string `json:"class"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Operations of a driver by their name.
type Operations map[string]func(*Command) (any, error)

// Empty is the answer without content.
var Empty = struct{}{}

// Run serves commands until the input ends. name finds Kafka's name of an error.
func Run(hello Hello, operations Operations, name func(error) string) {
	for operation := range operations {
		hello.Operations = append(hello.Operations, operation)
	}
	sort.Strings(hello.Operations)
	out := json.NewEncoder(os.Stdout)
	out.Encode(map[string]any{"ok": hello})
	in := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	for {
		var command Command
		if err := in.Decode(&command); err != nil {
			return
		}
		var result any
		operation, known := operations[command.Op]
		err := fmt.Errorf("unknown operation %q", command.Op)
		if known {
			result, err = operation(&command)
		}
		if err != nil {
			out.Encode(map[string]any{"error": Failure{
				Class: fmt.Sprintf("%T", Root(err)), Code: name(err), Message: err.Error(),
			}})
			continue
		}
		out.Encode(map[string]any{"ok": result})
	}
}

// Root is the innermost cause of an error.
func Root(err error) error {
	for {
		wrapped, is := err.(interface{ Unwrap() error })
		if !is {
			return err
		}
		inner := wrapped.Unwrap()
		if inner == nil {
			return err
		}
		err = inner
	}
}
