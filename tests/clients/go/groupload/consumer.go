package main

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// consumer is a member by ConsumerGroupHeartbeat (KIP-848).
type consumer struct {
	load  *load
	group *group
	conn  *connection
	id    string
	quit  chan struct{}
	ended sync.WaitGroup

	// Under the lock of the load.
	epoch      int32
	partitions []int32
	owned      []kmsg.ConsumerGroupHeartbeatRequestTopic
}

func newConsumer(l *load, g *group, conn *connection) *consumer {
	var id [16]byte
	rand.Read(id[:])
	m := &consumer{load: l, group: g, conn: conn, quit: make(chan struct{})}
	m.id = base64.RawURLEncoding.EncodeToString(id[:])
	m.ended.Go(m.run)
	return m
}

func (m *consumer) state() (int32, int) { return m.epoch, len(m.partitions) }

func (m *consumer) run() {
	changed, err := m.heartbeat(true)
	for err == nil {
		interval := time.Duration(m.load.options.HeartbeatMs) * time.Millisecond
		if changed {
			// What was given up or taken is told at once.
			interval = 0
		}
		select {
		case <-m.quit:
			return
		case <-time.After(interval):
			changed, err = m.heartbeat(changed)
		}
	}
	select {
	case <-m.quit:
	default:
		m.load.update(func() { m.group.failed = err })
	}
}

// heartbeat gives whether the member's partitions changed. With full it tells everything.
func (m *consumer) heartbeat(full bool) (bool, error) {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.Group, request.MemberID, request.MemberEpoch = m.group.name, m.id, m.epoch
	if full || m.epoch == 0 {
		request.RebalanceTimeoutMillis = 60_000
		request.SubscribedTopicNames = []string{m.load.options.Topic}
		request.Topics = m.owned
		if m.epoch == 0 {
			request.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		}
	}
	answer, err := m.conn.ask(1, request)
	if err != nil {
		return false, err
	}
	beat := answer.(*kmsg.ConsumerGroupHeartbeatResponse)
	switch code := kerr.TypedErrorForCode(beat.ErrorCode); {
	case code == kerr.UnknownMemberID || code == kerr.FencedMemberEpoch:
		m.load.update(func() { m.epoch, m.partitions, m.owned = 0, nil, nil })
		return true, nil
	case retries(beat.ErrorCode):
		return full, nil
	case code != nil:
		return false, code
	}
	before := m.partitions
	m.load.update(func() {
		m.epoch = beat.MemberEpoch
		if beat.Assignment != nil {
			m.take(beat.Assignment.Topics)
		}
	})
	// Whoever tells everything is told everything, also what he knows.
	return !slices.Equal(before, m.partitions), nil
}

func (m *consumer) take(topics []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic) {
	m.partitions, m.owned = nil, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	for _, topic := range topics {
		m.partitions = append(m.partitions, slices.Sorted(slices.Values(topic.Partitions))...)
		owned := kmsg.NewConsumerGroupHeartbeatRequestTopic()
		owned.TopicID, owned.Partitions = topic.TopicID, topic.Partitions
		m.owned = append(m.owned, owned)
	}
}

func (m *consumer) commit() error {
	return commit(m.conn, 9, m.group.name, m.id, m.epoch, m.load.options.Topic, m.partitions)
}

func (m *consumer) stop(leave bool) {
	close(m.quit)
	if leave {
		request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		request.Group, request.MemberID, request.MemberEpoch = m.group.name, m.id, -1
		m.ended.Wait()
		m.conn.ask(1, request)
	}
	m.conn.socket.Close()
	m.ended.Wait()
}
