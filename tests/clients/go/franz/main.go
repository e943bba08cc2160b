// Command franz drives franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"klamm.example/clients/driver"
)

const patience = 60 * time.Second

type franz struct {
	bootstrap string
	admin     *kadm.Client
}

func main() {
	f := &franz{bootstrap: os.Args[1]}
	client, err := kgo.NewClient(kgo.SeedBrokers(f.bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		panic(err)
	}
	f.admin = kadm.NewClient(client)
	driver.Run(driver.Hello{
		Client:  "franz-go",
		Version: moduleVersion("github.com/twmb/franz-go"),
		Codecs:  []string{"none", "gzip", "snappy", "lz4", "zstd"},
	}, driver.Operations{
		"create_topic":        f.createTopic,
		"delete_topic":        f.deleteTopic,
		"list_topics":         f.listTopics,
		"describe_topic":      f.describeTopic,
		"describe_config":     f.describeConfig,
		"alter_config":        f.alterConfig,
		"alter_config_legacy": f.alterConfigLegacy,
		"create_partitions":   f.createPartitions,
		"delete_records":      f.deleteRecords,
		"describe_cluster":    f.describeCluster,
		"produce":             f.produce,
		"produce_everywhere":  f.produceEverywhere,
		"fetch":               f.fetch,
		"offset_for":          f.offsetFor,

		"list_groups":          f.listGroups,
		"describe_group":       f.describeGroup,
		"delete_group":         f.deleteGroup,
		"group_offsets":        f.groupOffsets,
		"alter_group_offsets":  f.alterGroupOffsets,
		"delete_group_offsets": f.deleteGroupOffsets,
	}, errorName)
}

func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == path {
			return module.Version
		}
	}
	return "unknown"
}

func errorName(err error) string {
	var kafka *kerr.Error
	if errors.As(err, &kafka) {
		return kafka.Message
	}
	return driver.Root(err).Error()
}

func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

func (f *franz) createTopic(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	partitions, err := c.PartitionCount()
	if err != nil {
		return nil, err
	}
	_, err = f.admin.CreateTopic(ctx, partitions, c.ReplicationFactor, c.Configs, c.Topic)
	return driver.Empty, err
}

func (f *franz) deleteTopic(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	_, err := f.admin.DeleteTopic(ctx, c.Topic)
	return driver.Empty, err
}

func (f *franz) listTopics(*driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	topics, err := f.admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	return topics.Names(), topics.Error()
}

func (f *franz) describeTopic(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	topics, err := f.admin.ListTopics(ctx, c.Topic)
	if err != nil {
		return nil, err
	}
	topic := topics[c.Topic]
	if topic.Err != nil {
		return nil, topic.Err
	}
	id := topic.ID.String()
	info := driver.TopicInfo{ID: &id}
	for _, p := range topic.Partitions.Sorted() {
		info.Partitions = append(info.Partitions, driver.PartitionInfo{
			Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, Isr: p.ISR,
		})
	}
	return info, nil
}

func (f *franz) describeConfig(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	var described kadm.ResourceConfigs
	var err error
	if c.Resource == "broker" {
		id, _ := strconv.Atoi(c.Name)
		described, err = f.admin.DescribeBrokerConfigs(ctx, int32(id))
	} else {
		described, err = f.admin.DescribeTopicConfigs(ctx, c.Name)
	}
	if err != nil {
		return nil, err
	}
	entries := map[string]driver.ConfigInfo{}
	for _, resource := range described {
		if resource.Err != nil {
			return nil, resource.Err
		}
		for _, config := range resource.Configs {
			source := config.Source.String()
			entries[config.Key] = driver.ConfigInfo{
				Value: config.Value, Source: &source, Sensitive: config.Sensitive,
			}
		}
	}
	return entries, nil
}

func (f *franz) alterConfig(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	var changes []kadm.AlterConfig
	for key, value := range c.Set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: &value})
	}
	for _, key := range c.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	var answers kadm.AlterConfigsResponses
	var err error
	if c.Resource == "broker" {
		id, _ := strconv.Atoi(c.Name)
		answers, err = f.admin.AlterBrokerConfigs(ctx, changes, int32(id))
	} else {
		answers, err = f.admin.AlterTopicConfigs(ctx, changes, c.Name)
	}
	if err != nil {
		return nil, err
	}
	return driver.Empty, answers[0].Err
}

func (f *franz) alterConfigLegacy(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	var changes []kadm.AlterConfig
	for key, value := range c.Set {
		changes = append(changes, kadm.AlterConfig{Name: key, Value: &value})
	}
	answers, err := f.admin.AlterTopicConfigsState(ctx, changes, c.Name)
	if err != nil {
		return nil, err
	}
	return driver.Empty, answers[0].Err
}

func (f *franz) createPartitions(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	answers, err := f.admin.UpdatePartitions(ctx, int(c.Total), c.Topic)
	if err != nil {
		return nil, err
	}
	return driver.Empty, answers.Error()
}

func (f *franz) deleteRecords(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	before := kadm.Offsets{}
	before.AddOffset(c.Topic, c.Partition, c.Before, -1)
	answers, err := f.admin.DeleteRecords(ctx, before)
	if err != nil {
		return nil, err
	}
	if err := answers.Error(); err != nil {
		return nil, err
	}
	answer, _ := answers.Lookup(c.Topic, c.Partition)
	return map[string]int64{"low_watermark": answer.LowWatermark}, nil
}

func (f *franz) describeCluster(*driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	metadata, err := f.admin.BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	info := driver.ClusterInfo{ClusterID: metadata.Cluster}
	for _, b := range metadata.Brokers {
		info.Brokers = append(info.Brokers, driver.BrokerInfo{ID: b.NodeID, Host: b.Host, Port: b.Port})
	}
	return info, nil
}

func codec(name string) kgo.CompressionCodec {
	switch name {
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

func (f *franz) producer(c *driver.Command) (*kgo.Client, error) {
	acks := map[int]kgo.Acks{0: kgo.NoAck(), 1: kgo.LeaderAck(), -1: kgo.AllISRAcks()}[c.Acks]
	options := []kgo.Opt{
		kgo.SeedBrokers(f.bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codec(c.Codec)),
		kgo.RequiredAcks(acks),
		kgo.ProducerLinger(20 * time.Millisecond),
		kgo.ProducerBatchMaxBytes(c.BytesMax),
		kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(20),
		kgo.MetadataMinAge(10 * time.Millisecond),
	}
	if !c.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	return kgo.NewClient(options...)
}

func (f *franz) produce(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	client, err := f.producer(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := make([]*kgo.Record, len(c.Records))
	for i, r := range c.Records {
		record := &kgo.Record{
			Topic: c.Topic, Partition: c.Partition,
			Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp),
		}
		for _, h := range r.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
		}
		records[i] = record
	}
	offsets := make([]*int64, len(records))
	for i, result := range client.ProduceSync(ctx, records...) {
		if result.Err != nil {
			return nil, result.Err
		}
		if c.Acks != 0 {
			offsets[i] = &records[i].Offset
		}
	}
	return map[string]any{"offsets": offsets}, nil
}

// produceEverywhere sends one record of `value_bytes` to each partition of every topic whose
// name starts with `topic` and says how long the acknowledgements took.
func (f *franz) produceEverywhere(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	client, err := f.producer(c)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	topics, err := f.admin.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	var records []*kgo.Record
	for name, topic := range topics {
		if len(name) < len(c.Topic) || name[:len(c.Topic)] != c.Topic {
			continue
		}
		for partition := range topic.Partitions {
			value := make([]byte, c.ValueBytes)
			copy(value, fmt.Sprintf("%s-%d", name, partition))
			records = append(records, &kgo.Record{Topic: name, Partition: partition, Value: value})
		}
	}
	start := time.Now()
	err = client.ProduceSync(ctx, records...).FirstErr()
	return map[string]any{"records": len(records), "milliseconds": time.Since(start).Milliseconds()}, err
}

func (f *franz) fetch(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	ranges, err := c.Ranges()
	if err != nil {
		return nil, err
	}
	start := map[string]map[int32]kgo.Offset{}
	missing := map[driver.Range]bool{}
	ends := map[string]map[int32]driver.Range{}
	for _, r := range ranges {
		if start[r.Topic] == nil {
			start[r.Topic] = map[int32]kgo.Offset{}
			ends[r.Topic] = map[int32]driver.Range{}
		}
		start[r.Topic][r.Partition] = kgo.NewOffset().At(r.From)
		ends[r.Topic][r.Partition] = r
		if r.From < r.End {
			missing[r] = true
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(f.bootstrap), kgo.ConsumePartitions(start),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(500*time.Millisecond),
		kgo.MetadataMinAge(10*time.Millisecond), kgo.KeepRetryableFetchErrors(),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := []driver.Record{}
	for len(missing) > 0 {
		fetches := client.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			return nil, failed.Err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			wanted := ends[r.Topic][r.Partition]
			if r.Offset < wanted.End {
				records = append(records, read(r))
			}
			if r.Offset+1 >= wanted.End {
				delete(missing, wanted)
			}
		})
	}
	sort.SliceStable(records, func(i, j int) bool {
		a, b := records[i], records[j]
		return a.Topic < b.Topic || a.Topic == b.Topic && a.Partition < b.Partition
	})
	return map[string]any{"records": records}, nil
}

func read(r *kgo.Record) driver.Record {
	kind := map[int8]string{0: "create", 1: "append"}[r.Attrs.TimestampType()]
	record := driver.Record{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(),
		TimestampType: &kind, Key: r.Key, Value: r.Value, Headers: []driver.Header{},
	}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, driver.Header{Name: h.Key, Value: h.Value})
	}
	return record
}

func (f *franz) offsetFor(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	word, at, err := c.AtWord()
	if err != nil {
		return nil, err
	}
	var listed kadm.ListedOffsets
	switch word {
	case "earliest":
		listed, err = f.admin.ListStartOffsets(ctx, c.Topic)
	case "latest":
		listed, err = f.admin.ListEndOffsets(ctx, c.Topic)
	case "max_timestamp":
		listed, err = f.admin.ListMaxTimestampOffsets(ctx, c.Topic)
	default:
		listed, err = f.admin.ListOffsetsAfterMilli(ctx, at, c.Topic)
	}
	if err != nil {
		return nil, err
	}
	offset, _ := listed.Lookup(c.Topic, c.Partition)
	if offset.Err != nil {
		return nil, offset.Err
	}
	// kadm answers a time behind the last record with the end of the partition.
	if offset.Offset < 0 || word == "" && offset.Timestamp < 0 {
		return driver.Position{}, nil
	}
	position := driver.Position{Offset: &offset.Offset}
	if offset.Timestamp >= 0 {
		position.Timestamp = &offset.Timestamp
	}
	return position, nil
}
