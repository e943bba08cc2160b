// Command ledger writes through franz-go until its standard input ends, and
// keeps a ledger of what was acknowledged.
//
// Each producer is a client of its own. It numbers its records from 0 and sends
// record s to partition (producer + s) mod partitions. One line a record:
//
//	A producer sequence partition offset    acknowledged
//	F producer sequence partition error     given up
//
// The bytes of a record follow from producer and sequence; see value.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap, topic              string
	partitions, idempotent, plain int
)

// arguments: bootstrap, topic, partitions, number of idempotent producers, of
// others; the last of the others waits for the leader's acknowledgement only.
func arguments() {
	bootstrap, topic = os.Args[1], os.Args[2]
	for i, number := range []*int{&partitions, &idempotent, &plain} {
		var err error
		if *number, err = strconv.Atoi(os.Args[3+i]); err != nil {
			panic(err)
		}
	}
}

// value is the record's text: who and which, and bytes that follow from these.
func value(producer, sequence int) []byte {
	state := uint64(producer)<<40 ^ uint64(sequence)
	next := func() uint64 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	text := fmt.Appendf(nil, "%d %d ", producer, sequence)
	for length := int(next() % 1200); length > 0; length-- {
		text = append(text, 'a'+byte(next()%26))
	}
	return text
}

type book struct {
	sync.Mutex
	out *bufio.Writer
}

func (b *book) line(format string, arguments ...any) {
	b.Lock()
	defer b.Unlock()
	fmt.Fprintf(b.out, format, arguments...)
	b.out.Flush()
}

func client(producer int) (*kgo.Client, error) {
	codecs := []kgo.CompressionCodec{
		kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.GzipCompression(),
		kgo.SnappyCompression(),
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(codecs[producer%len(codecs)]),
		kgo.ProducerLinger(2 * time.Millisecond),
		kgo.MaxBufferedRecords(500),
		kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.UnknownTopicRetries(-1),
		kgo.DialTimeout(time.Second),
		kgo.RequestTimeoutOverhead(5 * time.Second),
		kgo.RetryTimeout(5 * time.Minute),
	}
	if producer >= idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	if producer == idempotent+plain-1 && plain > 1 {
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	return kgo.NewClient(options...)
}

func produce(producer int, stop context.Context, ledger *book) error {
	client, err := client(producer)
	if err != nil {
		return err
	}
	defer client.Close()
	for sequence := 0; stop.Err() == nil; sequence++ {
		partition := int32((producer + sequence) % partitions)
		record := &kgo.Record{
			Topic: topic, Partition: partition,
			Key: fmt.Appendf(nil, "%d", producer), Value: value(producer, sequence),
		}
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			if err != nil {
				ledger.line("F %d %d %d %v\n", producer, sequence, partition, err)
				return
			}
			ledger.line("A %d %d %d %d\n", producer, sequence, record.Partition, record.Offset)
		})
		time.Sleep(time.Millisecond)
	}
	patience, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return client.Flush(patience)
}

func main() {
	arguments()
	ledger := &book{out: bufio.NewWriter(os.Stdout)}
	stop, stopAll := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stopAll()
	}()
	var group sync.WaitGroup
	failed := false
	for producer := range idempotent + plain {
		group.Go(func() {
			if err := produce(producer, stop, ledger); err != nil {
				fmt.Fprintf(os.Stderr, "producer %d: %v\n", producer, err)
				failed = true
			}
		})
	}
	group.Wait()
	if failed {
		os.Exit(1)
	}
}
