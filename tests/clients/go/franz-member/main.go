// Command franz-member is a member of a group by franz-go.
package main

import (
	"context"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"klamm.example/clients/driver"
)

func main() {
	m := driver.StartMember()
	client, err := kgo.NewClient(options(m)...)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-m.Stop
		cancel()
	}()
	m.Tell(driver.Event{Event: "started", Version: "franz-go"})
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		if ctx.Err() == nil {
			for _, failed := range fetches.Errors() {
				m.Failed(failed.Err)
			}
			process(ctx, m, client, fetches)
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	m.Tell(driver.Event{Event: "left"})
}

func options(m *driver.Member) []kgo.Opt {
	o := m.Options
	tell := func(event string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, owned map[string][]int32) { m.Owned(event, owned) }
	}
	millis := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	options := []kgo.Opt{
		kgo.SeedBrokers(m.Bootstrap),
		kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelInfo, nil)),
		kgo.ConsumerGroup(o.Group),
		kgo.ClientID(o.ClientID),
		kgo.ConsumeTopics(o.Topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(millis(o.SessionTimeoutMs)),
		kgo.HeartbeatInterval(millis(o.HeartbeatMs)),
		kgo.MetadataMaxAge(millis(o.MetadataMaxAgeMs)),
		kgo.MetadataMinAge(10 * time.Millisecond),
		kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.RebalanceTimeout(10 * time.Second),
		kgo.OnPartitionsAssigned(tell("assigned")),
		kgo.OnPartitionsRevoked(tell("revoked")),
		kgo.OnPartitionsLost(tell("lost")),
	}
	if o.Instance != nil {
		options = append(options, kgo.InstanceID(*o.Instance))
	}
	if o.Protocol == "consumer" {
		return append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	if o.Assignor == "cooperative-sticky" {
		return append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	return append(options, kgo.Balancers(kgo.RangeBalancer()))
}

func process(ctx context.Context, m *driver.Member, client *kgo.Client, fetches kgo.Fetches) {
	positions := map[string]map[int32]kgo.EpochOffset{}
	var committed [][3]any
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		event := driver.Event{Event: "read", Topic: p.Topic, Partition: p.Partition}
		for _, record := range p.Records {
			event.Records = append(event.Records, [2]any{record.Offset, string(record.Value)})
		}
		m.Tell(event)
		position, may := m.Position(p.Records[0].Offset, p.Records[len(p.Records)-1].Offset)
		if !may {
			return
		}
		if positions[p.Topic] == nil {
			positions[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		positions[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: -1, Offset: position}
		committed = append(committed, [3]any{p.Topic, p.Partition, position})
	})
	if len(positions) > 0 {
		commit(ctx, m, client, positions, committed)
	}
}

func commit(
	ctx context.Context, m *driver.Member, client *kgo.Client,
	positions map[string]map[int32]kgo.EpochOffset, committed [][3]any,
) {
	with := kgo.PreCommitFnContext(ctx, func(request *kmsg.OffsetCommitRequest) error {
		for t := range request.Topics {
			for p := range request.Topics[t].Partitions {
				request.Topics[t].Partitions[p].Metadata = &m.Options.CommitMetadata
			}
		}
		return nil
	})
	var failed error
	client.CommitOffsetsSync(with, positions,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			failed = err
			if err == nil {
				failed = firstError(response)
			}
		})
	if failed != nil {
		m.Failed(failed)
		return
	}
	m.Tell(driver.Event{Event: "committed", Offsets: committed})
}
