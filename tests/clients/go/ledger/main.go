// Command ledger writes through franz-go until its standard input ends, and
// keeps a ledger of what was sent and what became of it.
//
// Each producer is a client of its own. It numbers its records from 0 and sends
// record s to partition (producer + s) mod partitions. Two lines a record:
//
//	S producer sequence partition    is sent now
//	A producer sequence offset       acknowledged, - when no offset was said
//	F producer sequence error        given up
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
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap, topic                    string
	partitions                          int
	idempotent, atLeastOnce, atMostOnce int
)

// arguments: bootstrap, topic, partitions, number of idempotent producers, of
// others that retry, of those that wait for no answer; the last one that retries
// without idempotence waits for the leader's acknowledgement only.
func arguments() {
	bootstrap, topic = os.Args[1], os.Args[2]
	for i, number := range []*int{&partitions, &idempotent, &atLeastOnce, &atMostOnce} {
		var err error
		if *number, err = strconv.Atoi(os.Args[3+i]); err != nil {
			panic(err)
		}
	}
}

// value is the record's text: who and which, and bytes that follow from these,
// as value_of in sim/history makes it.
func value(producer, sequence int) []byte {
	const fillingMax = 1200
	state := uint64(producer)<<40 ^ uint64(fillingMax)<<32
	state = state*0x2545f4914f6cdd1d ^ uint64(sequence)
	next := func() uint64 {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	text := fmt.Appendf(nil, "%d %d %d ", producer, sequence, fillingMax)
	for length := 8 + int(next()%(fillingMax+1)); length > 0; length-- {
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

// isSilent tells whether the producer waits for no answer.
func isSilent(producer int) bool {
	return producer >= idempotent+atLeastOnce
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
	if producer == idempotent+atLeastOnce-1 && atLeastOnce > 1 {
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()))
	}
	if isSilent(producer) {
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.RecordRetries(0))
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
		ledger.line("S %d %d %d\n", producer, sequence, partition)
		client.Produce(context.Background(), record, func(record *kgo.Record, err error) {
			switch {
			case err != nil:
				text := strings.ReplaceAll(err.Error(), "\n", " ")
				ledger.line("F %d %d %s\n", producer, sequence, text)
			case isSilent(producer):
				ledger.line("A %d %d -\n", producer, sequence)
			default:
				ledger.line("A %d %d %d\n", producer, sequence, record.Offset)
			}
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
	for producer := range idempotent + atLeastOnce + atMostOnce {
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
