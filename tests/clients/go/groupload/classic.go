package main

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// classic is a member by JoinGroup, SyncGroup and Heartbeat.
type classic struct {
	load   *load
	group  *group
	conn   *connection
	client string
	quit   chan struct{}
	ended  sync.WaitGroup

	// Under the lock of the load.
	id         string
	generation int32
	partitions []int32
}

func newClassic(l *load, g *group, conn *connection, client string) *classic {
	m := &classic{load: l, group: g, conn: conn, client: client, quit: make(chan struct{})}
	m.ended.Go(m.run)
	return m
}

func (m *classic) state() (int32, int) { return m.generation, len(m.partitions) }

func (m *classic) run() {
	err := m.join()
	interval := time.Duration(m.load.options.HeartbeatMs) * time.Millisecond
	for err == nil {
		select {
		case <-m.quit:
			return
		case <-time.After(interval):
			err = m.heartbeat()
		}
	}
	select {
	case <-m.quit:
	default:
		m.load.update(func() { m.group.failed = err })
	}
}

// join goes on until the member has its share of a generation.
func (m *classic) join() error {
	m.load.update(func() { m.generation, m.partitions = 0, nil })
	for {
		request := kmsg.NewPtrJoinGroupRequest()
		request.Group, request.MemberID, request.ProtocolType = m.group.name, m.id, "consumer"
		request.SessionTimeoutMillis = int32(m.load.options.SessionTimeoutMs)
		request.RebalanceTimeoutMillis = 60_000
		metadata := kmsg.NewConsumerMemberMetadata()
		metadata.Topics = []string{m.load.options.Topic}
		protocol := kmsg.NewJoinGroupRequestProtocol()
		protocol.Name, protocol.Metadata = "range", metadata.AppendTo(nil)
		request.Protocols = append(request.Protocols, protocol)
		answer, err := m.conn.ask(9, request)
		if err != nil {
			return err
		}
		joined := answer.(*kmsg.JoinGroupResponse)
		switch code := kerr.TypedErrorForCode(joined.ErrorCode); {
		case code == kerr.MemberIDRequired:
			m.load.update(func() { m.id = joined.MemberID })
		case code == kerr.UnknownMemberID:
			m.load.update(func() { m.id = "" })
		case retries(joined.ErrorCode):
			time.Sleep(100 * time.Millisecond)
		case code != nil:
			return code
		default:
			again, err := m.sync(joined)
			if err != nil || !again {
				return err
			}
		}
	}
}

// sync gives whether the member has to join again.
func (m *classic) sync(joined *kmsg.JoinGroupResponse) (bool, error) {
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.MemberID, request.Generation = m.group.name, joined.MemberID, joined.Generation
	request.ProtocolType, request.Protocol = kmsg.StringPtr("consumer"), joined.Protocol
	if joined.LeaderID == joined.MemberID {
		request.GroupAssignment = m.divide(joined.Members)
		m.load.update(func() { m.group.joined[joined.Generation] = len(joined.Members) })
	}
	answer, err := m.conn.ask(5, request)
	if err != nil {
		return false, err
	}
	synced := answer.(*kmsg.SyncGroupResponse)
	switch code := kerr.TypedErrorForCode(synced.ErrorCode); {
	case code == kerr.RebalanceInProgress || code == kerr.IllegalGeneration || retries(synced.ErrorCode):
		return true, nil
	case code == kerr.UnknownMemberID:
		m.load.update(func() { m.id = "" })
		return true, nil
	case code != nil:
		return false, code
	}
	var assignment kmsg.ConsumerMemberAssignment
	if err := assignment.ReadFrom(synced.MemberAssignment); err != nil {
		return false, err
	}
	m.load.update(func() {
		m.id, m.generation = joined.MemberID, joined.Generation
		m.partitions = []int32{}
		for _, topic := range assignment.Topics {
			m.partitions = append(m.partitions, topic.Partitions...)
		}
	})
	return false, nil
}

// divide deals the partitions one by one.
func (m *classic) divide(members []kmsg.JoinGroupResponseMember) []kmsg.SyncGroupRequestGroupAssignment {
	shares := make([][]int32, len(members))
	for partition := range m.load.options.Partitions {
		owner := partition % len(members)
		shares[owner] = append(shares[owner], int32(partition))
	}
	var assignments []kmsg.SyncGroupRequestGroupAssignment
	for i, member := range members {
		topic := kmsg.NewConsumerMemberAssignmentTopic()
		topic.Topic, topic.Partitions = m.load.options.Topic, shares[i]
		encoded := kmsg.NewConsumerMemberAssignment()
		encoded.Topics = append(encoded.Topics, topic)
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID, assignment.MemberAssignment = member.MemberID, encoded.AppendTo(nil)
		assignments = append(assignments, assignment)
	}
	return assignments
}

func (m *classic) heartbeat() error {
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.Generation = m.group.name, m.id, m.generation
	answer, err := m.conn.ask(4, request)
	if err != nil {
		return err
	}
	code := answer.(*kmsg.HeartbeatResponse).ErrorCode
	switch kerr.TypedErrorForCode(code) {
	case nil:
		return nil
	case kerr.RebalanceInProgress, kerr.IllegalGeneration:
		return m.join()
	case kerr.UnknownMemberID:
		m.load.update(func() { m.id = "" })
		return m.join()
	}
	if retries(code) {
		return nil
	}
	return kerr.ErrorForCode(code)
}

func (m *classic) commit() error {
	return commit(m.conn, 8, m.group.name, m.id, m.generation, m.load.options.Topic, m.partitions)
}

func (m *classic) stop(leave bool) {
	close(m.quit)
	if leave {
		request := kmsg.NewPtrLeaveGroupRequest()
		request.Group = m.group.name
		self := kmsg.NewLeaveGroupRequestMember()
		self.MemberID = m.id
		request.Members = append(request.Members, self)
		m.ended.Wait()
		m.conn.ask(4, request)
	}
	m.conn.socket.Close()
	m.ended.Wait()
}

// commit commits one offset of the first partition, if there is one.
func commit(
	conn *connection, version int16, group, member string, generation int32, topic string, partitions []int32,
) error {
	if len(partitions) == 0 {
		return nil
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.MemberID, request.Generation = group, member, generation
	wanted, one := kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	one.Partition, one.Offset = partitions[0], time.Now().UnixMilli()
	wanted.Topic, wanted.Partitions = topic, append(wanted.Partitions, one)
	request.Topics = append(request.Topics, wanted)
	answer, err := conn.ask(version, request)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(answer.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}
