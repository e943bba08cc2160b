// Command sarama-member is a member of a group by IBM/sarama.
package main

import (
	"context"
	"time"

	"github.com/IBM/sarama"

	"klamm.example/clients/driver"
)

func main() {
	m := driver.StartMember()
	group, err := sarama.NewConsumerGroup([]string{m.Bootstrap}, m.Options.Group, configuration(m))
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-m.Stop
		cancel()
	}()
	go func() {
		for err := range group.Errors() {
			m.Failed(err)
		}
	}()
	m.Tell(driver.Event{Event: "started", Version: "sarama"})
	for ctx.Err() == nil {
		if err := group.Consume(ctx, m.Options.Topics, handler{m}); err != nil {
			m.Failed(err)
		}
	}
	group.Close()
	m.Tell(driver.Event{Event: "left"})
}

func configuration(m *driver.Member) *sarama.Config {
	o := m.Options
	millis := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.ClientID = o.ClientID
	config.Metadata.RefreshFrequency = millis(o.MetadataMaxAgeMs)
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 50
	config.Metadata.Retry.Backoff = millis(200)
	config.Consumer.Return.Errors = true
	config.Consumer.Retry.Backoff = millis(200)
	config.Consumer.MaxWaitTime = millis(200)
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = millis(o.SessionTimeoutMs)
	config.Consumer.Group.Heartbeat.Interval = millis(o.HeartbeatMs)
	config.Consumer.Group.Rebalance.Timeout = 10 * time.Second
	config.Consumer.Group.Rebalance.Retry.Backoff = millis(200)
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{
		sarama.NewBalanceStrategyRange(),
	}
	if o.Instance != nil {
		config.Consumer.Group.InstanceId = *o.Instance
	}
	return config
}

type handler struct{ member *driver.Member }

func (h handler) Setup(session sarama.ConsumerGroupSession) error {
	h.member.Owned("assigned", session.Claims())
	return nil
}

func (h handler) Cleanup(session sarama.ConsumerGroupSession) error {
	h.member.Owned("revoked", session.Claims())
	return nil
}

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open || session.Context().Err() != nil {
				return nil
			}
			h.process(session, message)
			h.processMore(session, claim)
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

// processMore takes what is there already. A commit shares its connection with fetches that wait, so
// one for every record would take as long as they do.
func (h handler) processMore(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) {
	for range 100 {
		select {
		case message, open := <-claim.Messages():
			if !open || session.Context().Err() != nil {
				return
			}
			h.process(session, message)
		default:
			return
		}
	}
}

// process tells of a record, and marks it for the next commit. The library does not tell whether a
// commit was done, so none is told: what another member reads then shows where it begins.
func (h handler) process(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
	h.member.Tell(driver.Event{
		Event: "read", Topic: message.Topic, Partition: message.Partition,
		Records: [][2]any{{message.Offset, string(message.Value)}},
	})
	position, may := h.member.Position(message.Offset, message.Offset)
	if may {
		session.MarkOffset(message.Topic, message.Partition, position, h.member.Options.CommitMetadata)
	}
}
