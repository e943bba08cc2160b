// Command sarama drives IBM/sarama.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"

	"klamm.example/clients/driver"
)

const patience = 60 * time.Second

type driven struct {
	bootstrap []string
	client    sarama.Client
	admin     sarama.ClusterAdmin
}

func configuration() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Consumer.Return.Errors = true
	config.Metadata.Retry.Backoff = 50 * time.Millisecond
	config.Metadata.Retry.Max = 20
	return config
}

func main() {
	d := &driven{bootstrap: []string{os.Args[1]}}
	var err error
	if d.client, err = sarama.NewClient(d.bootstrap, configuration()); err != nil {
		panic(err)
	}
	if d.admin, err = sarama.NewClusterAdminFromClient(d.client); err != nil {
		panic(err)
	}
	info, _ := debug.ReadBuildInfo()
	version := "unknown"
	for _, module := range info.Deps {
		if module.Path == "github.com/IBM/sarama" {
			version = module.Version
		}
	}
	driver.Run(driver.Hello{
		Client: "sarama", Version: version,
		Codecs: []string{"none", "gzip", "snappy", "lz4", "zstd"},
	}, driver.Operations{
		"create_topic":        d.createTopic,
		"delete_topic":        d.deleteTopic,
		"list_topics":         d.listTopics,
		"describe_topic":      d.describeTopic,
		"describe_config":     d.describeConfig,
		"alter_config":        d.alterConfig,
		"alter_config_legacy": d.alterConfigLegacy,
		"create_partitions":   d.createPartitions,
		"delete_records":      d.deleteRecords,
		"describe_cluster":    d.describeCluster,
		"produce":             d.produce,
		"fetch":               d.fetch,
		"offset_for":          d.offsetFor,

		"list_groups":          d.listGroups,
		"describe_group":       d.describeGroup,
		"delete_group":         d.deleteGroup,
		"group_offsets":        d.groupOffsets,
		"alter_group_offsets":  d.alterGroupOffsets,
		"delete_group_offsets": d.deleteGroupOffsets,
	}, errorName)
}

// sarama knows errors by their number only; the other library has the names.
func errorName(err error) string {
	var code sarama.KError
	if errors.As(err, &code) {
		if known := kerr.TypedErrorForCode(int16(code)); known != nil {
			return known.Message
		}
		return fmt.Sprint(int16(code))
	}
	return driver.Root(err).Error()
}

func (d *driven) createTopic(c *driver.Command) (any, error) {
	partitions, err := c.PartitionCount()
	if err != nil {
		return nil, err
	}
	return driver.Empty, d.admin.CreateTopic(c.Topic, &sarama.TopicDetail{
		NumPartitions: partitions, ReplicationFactor: c.ReplicationFactor, ConfigEntries: c.Configs,
	}, false)
}

func (d *driven) deleteTopic(c *driver.Command) (any, error) {
	return driver.Empty, d.admin.DeleteTopic(c.Topic)
}

func (d *driven) listTopics(*driver.Command) (any, error) {
	topics, err := d.admin.ListTopics()
	if err != nil {
		return nil, err
	}
	names := []string{}
	for name := range topics {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func (d *driven) describeTopic(c *driver.Command) (any, error) {
	topics, err := d.admin.DescribeTopics([]string{c.Topic})
	if err != nil {
		return nil, err
	}
	topic := topics[0]
	if topic.Err != sarama.ErrNoError {
		return nil, topic.Err
	}
	var info driver.TopicInfo
	for _, p := range topic.Partitions {
		info.Partitions = append(info.Partitions, driver.PartitionInfo{
			Partition: p.ID, Leader: p.Leader, Replicas: p.Replicas, Isr: p.Isr,
		})
	}
	sort.Slice(info.Partitions, func(i, j int) bool {
		return info.Partitions[i].Partition < info.Partitions[j].Partition
	})
	return info, nil
}

func resource(c *driver.Command) sarama.ConfigResourceType {
	if c.Resource == "broker" {
		return sarama.BrokerResource
	}
	return sarama.TopicResource
}

func (d *driven) describeConfig(c *driver.Command) (any, error) {
	entries, err := d.admin.DescribeConfig(sarama.ConfigResource{Type: resource(c), Name: c.Name})
	if err != nil {
		return nil, err
	}
	described := map[string]driver.ConfigInfo{}
	for _, entry := range entries {
		described[entry.Name] = driver.ConfigInfo{
			Value: &entry.Value, ReadOnly: entry.ReadOnly, Sensitive: entry.Sensitive,
		}
	}
	return described, nil
}

func (d *driven) alterConfig(c *driver.Command) (any, error) {
	changes := map[string]sarama.IncrementalAlterConfigsEntry{}
	for key, value := range c.Set {
		changes[key] = sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value,
		}
	}
	for _, key := range c.Delete {
		changes[key] = sarama.IncrementalAlterConfigsEntry{
			Operation: sarama.IncrementalAlterConfigsOperationDelete,
		}
	}
	return driver.Empty, d.admin.IncrementalAlterConfig(resource(c), c.Name, changes, false)
}

func (d *driven) alterConfigLegacy(c *driver.Command) (any, error) {
	entries := map[string]*string{}
	for key, value := range c.Set {
		entries[key] = &value
	}
	return driver.Empty, d.admin.AlterConfig(resource(c), c.Name, entries, false)
}

func (d *driven) createPartitions(c *driver.Command) (any, error) {
	return driver.Empty, d.admin.CreatePartitions(c.Topic, c.Total, nil, false)
}

func (d *driven) deleteRecords(c *driver.Command) (any, error) {
	if err := d.client.RefreshMetadata(c.Topic); err != nil {
		return nil, err
	}
	err := d.admin.DeleteRecords(c.Topic, map[int32]int64{c.Partition: c.Before})
	if err != nil {
		return nil, err
	}
	oldest, err := d.client.GetOffset(c.Topic, c.Partition, sarama.OffsetOldest)
	return map[string]int64{"low_watermark": oldest}, err
}

func (d *driven) describeCluster(*driver.Command) (any, error) {
	brokers, _, err := d.admin.DescribeCluster()
	if err != nil {
		return nil, err
	}
	var info driver.ClusterInfo
	for _, b := range brokers {
		var host string
		var port int32
		if _, err := fmt.Sscanf(b.Addr(), "%s", &host); err != nil {
			return nil, err
		}
		for i := len(host) - 1; i >= 0; i-- {
			if host[i] == ':' {
				fmt.Sscan(host[i+1:], &port)
				host = host[:i]
				break
			}
		}
		info.Brokers = append(info.Brokers, driver.BrokerInfo{ID: b.ID(), Host: host, Port: port})
	}
	return info, nil
}

func (d *driven) produce(c *driver.Command) (any, error) {
	config := configuration()
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.RequiredAcks = sarama.RequiredAcks(c.Acks)
	config.Producer.Idempotent = c.Idempotent
	if c.Idempotent {
		config.Net.MaxOpenRequests = 1
	}
	config.Producer.MaxMessageBytes = int(c.BytesMax)
	config.Producer.Retry.Max = 20
	config.Producer.Flush.Frequency = 20 * time.Millisecond
	config.Producer.Compression = map[string]sarama.CompressionCodec{
		"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
	}[c.Codec]
	producer, err := sarama.NewSyncProducer(d.bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer producer.Close()
	messages := make([]*sarama.ProducerMessage, len(c.Records))
	for i, r := range c.Records {
		message := &sarama.ProducerMessage{
			Topic: c.Topic, Partition: c.Partition, Timestamp: time.UnixMilli(r.Timestamp),
		}
		if r.Key != nil {
			message.Key = sarama.ByteEncoder(r.Key)
		}
		if r.Value != nil {
			message.Value = sarama.ByteEncoder(r.Value)
		}
		for _, h := range r.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: h.Value})
		}
		messages[i] = message
	}
	if err := producer.SendMessages(messages); err != nil {
		var several sarama.ProducerErrors
		if errors.As(err, &several) {
			return nil, several[0].Err
		}
		return nil, err
	}
	offsets := make([]*int64, len(messages))
	for i, message := range messages {
		if c.Acks != 0 {
			offsets[i] = &message.Offset
		}
	}
	return map[string]any{"offsets": offsets}, nil
}

func (d *driven) fetch(c *driver.Command) (any, error) {
	ranges, err := c.Ranges()
	if err != nil {
		return nil, err
	}
	config := configuration()
	config.Metadata.AllowAutoTopicCreation = false
	config.Metadata.Retry.Max = 3
	consumer, err := sarama.NewConsumer(d.bootstrap, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	records := []driver.Record{}
	for _, r := range ranges {
		part, err := readRange(consumer, r)
		if err != nil {
			return nil, err
		}
		records = append(records, part...)
	}
	sort.SliceStable(records, func(i, j int) bool {
		a, b := records[i], records[j]
		return a.Topic < b.Topic || a.Topic == b.Topic && a.Partition < b.Partition
	})
	return map[string]any{"records": records}, nil
}

func readRange(consumer sarama.Consumer, r driver.Range) ([]driver.Record, error) {
	partition, err := consumer.ConsumePartition(r.Topic, r.Partition, r.From)
	if err != nil {
		return nil, err
	}
	defer partition.AsyncClose()
	var records []driver.Record
	deadline := time.After(patience)
	for position := r.From; position < r.End; {
		select {
		case message, open := <-partition.Messages():
			if !open {
				return nil, errors.New("the partition consumer stopped")
			}
			if message.Offset < r.End {
				records = append(records, read(message))
			}
			position = message.Offset + 1
		case failed := <-partition.Errors():
			return nil, failed.Err
		case <-deadline:
			return nil, fmt.Errorf("only offset %d of %d reached", position, r.End)
		}
	}
	return records, nil
}

func read(m *sarama.ConsumerMessage) driver.Record {
	record := driver.Record{
		Topic: m.Topic, Partition: m.Partition, Offset: m.Offset, Timestamp: m.Timestamp.UnixMilli(),
		Key: m.Key, Value: m.Value, Headers: []driver.Header{},
	}
	for _, h := range m.Headers {
		record.Headers = append(record.Headers, driver.Header{Name: string(h.Key), Value: h.Value})
	}
	return record
}

func (d *driven) offsetFor(c *driver.Command) (any, error) {
	word, at, err := c.AtWord()
	if err != nil {
		return nil, err
	}
	switch word {
	case "earliest":
		at = sarama.OffsetOldest
	case "latest":
		at = sarama.OffsetNewest
	}
	if err := d.client.RefreshMetadata(c.Topic); err != nil {
		return nil, err
	}
	wanted := map[string]map[int32]int64{c.Topic: {c.Partition: at}}
	answers, err := d.admin.ListOffsets(wanted, nil)
	if err != nil {
		return nil, err
	}
	answer := answers[c.Topic][c.Partition]
	if answer.Err != nil && !errors.Is(answer.Err, sarama.ErrNoError) {
		return nil, answer.Err
	}
	var position driver.Position
	if answer.Offset >= 0 {
		position.Offset = &answer.Offset
	}
	if answer.Timestamp >= 0 {
		position.Timestamp = &answer.Timestamp
	}
	return position, nil
}
