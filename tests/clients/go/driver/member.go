package driver

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// MemberOptions say how a member of a group behaves.
type MemberOptions struct {
	Group            string   `json:"group"`
	ClientID         string   `json:"client_id"`
	Topics           []string `json:"topics"`
	Protocol         string   `json:"protocol"`
	Assignor         string   `json:"assignor"`
	Instance         *string  `json:"instance"`
	SessionTimeoutMs int      `json:"session_timeout_ms"`
	HeartbeatMs      int      `json:"heartbeat_ms"`
	MetadataMaxAgeMs int      `json:"metadata_max_age_ms"`
	CommitMetadata   string   `json:"commit_metadata"`
	CommitBelow      *int64   `json:"commit_below"`
}

// Event is one line that a member tells.
type Event struct {
	Event      string   `json:"event"`
	Version    string   `json:"version,omitempty"`
	Topic      string   `json:"topic,omitempty"`
	Partition  int32    `json:"partition"`
	Partitions [][2]any `json:"partitions,omitempty"`
	Records    [][2]any `json:"records,omitempty"`
	Offsets    [][3]any `json:"offsets,omitempty"`
	Class      string   `json:"class,omitempty"`
	Message    string   `json:"message,omitempty"`
}

// Member is what the programs that join groups share.
type Member struct {
	Bootstrap string
	Options   MemberOptions
	// Stop is closed at the end of the input.
	Stop chan struct{}

	lock sync.Mutex
	out  *json.Encoder
}

// StartMember reads the arguments and watches the input.
func StartMember() *Member {
	m := &Member{Bootstrap: os.Args[1], Stop: make(chan struct{}), out: json.NewEncoder(os.Stdout)}
	if err := json.Unmarshal([]byte(os.Args[2]), &m.Options); err != nil {
		panic(err)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(m.Stop)
	}()
	return m
}

// Tell writes one event.
func (m *Member) Tell(event Event) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.out.Encode(event)
}

// Owned tells of partitions that were assigned, revoked or lost.
func (m *Member) Owned(event string, topics map[string][]int32) {
	places := [][2]any{}
	for topic, partitions := range topics {
		for _, partition := range partitions {
			places = append(places, [2]any{topic, partition})
		}
	}
	m.Tell(Event{Event: event, Partitions: places})
}

// Failed tells of an error that the library showed to its user.
func (m *Member) Failed(err error) {
	m.Tell(Event{Event: "failed", Class: fmt.Sprintf("%T", Root(err)), Message: err.Error()})
}

// Position is what to commit after the records from first to last; false where the options
// forbid it.
func (m *Member) Position(first, last int64) (int64, bool) {
	below := m.Options.CommitBelow
	if below == nil {
		return last + 1, true
	}
	return min(last+1, *below), first < *below
}
