// Command franzload produces or consumes records of 100 bytes with franz-go as fast as it goes, and
// prints one line of JSON with how many: a client that favours no broker.
//
// It ends when standard input does, so that who measures can look at its connections first.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	recordBytes = 100
	// bufferedRecords is how many records wait in the client: 128 MiB of them.
	bufferedRecords = 128 << 20 / recordBytes
	batchBytes      = 1_000_000
)

var (
	address    = flag.String("address", "127.0.0.1:9092", "host:port")
	topic      = flag.String("topic", "", "the topic, which is there")
	partitions = flag.Int("partitions", 1, "how many partitions it has")
	warmUp     = flag.Float64("warm-up", 2, "seconds before the measurement")
	seconds    = flag.Float64("seconds", 5, "seconds of the measurement")
)

// report has the fields that the benchmarks read, in which a request is a record.
type report struct {
	Requests       int64   `json:"requests"`
	Refused        int64   `json:"refused"`
	Bytes          int64   `json:"bytes"`
	Seconds        float64 `json:"seconds"`
	WarmUp         float64 `json:"warm_up"`
	LoadCPUSeconds float64 `json:"load_cpu_seconds"`
	P50            float64 `json:"p50"`
	P99            float64 `json:"p99"`
	P999           float64 `json:"p999"`
	Max            float64 `json:"max"`
}

// counter counts what comes between two moments.
type counter struct {
	from, until time.Time
	records     atomic.Int64
	failed      atomic.Int64
}

func newCounter() *counter {
	from := time.Now().Add(time.Duration(*warmUp * float64(time.Second)))
	return &counter{from: from, until: from.Add(time.Duration(*seconds * float64(time.Second)))}
}

// add says whether it goes on.
func (c *counter) add(records int, now time.Time) bool {
	if now.After(c.from) && now.Before(c.until) {
		c.records.Add(int64(records))
	}
	return now.Before(c.until)
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("produce or consume?"))
	}
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	run := map[string]func(*counter) error{"produce": produce, "consume": consume}[os.Args[1]]
	if run == nil {
		fail(fmt.Errorf("%q: produce or consume", os.Args[1]))
	}
	count := newCounter()
	if err := run(count); err != nil {
		fail(err)
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		fail(err)
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	records := count.records.Load()
	err := json.NewEncoder(os.Stdout).Encode(report{
		Requests: records, Refused: count.failed.Load(), Bytes: records * recordBytes,
		Seconds: *seconds, WarmUp: *warmUp, LoadCPUSeconds: cpu,
	})
	if err != nil {
		fail(err)
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "franzload:", err)
	os.Exit(1)
}

func produce(count *counter) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(*address),
		kgo.DefaultProduceTopic(*topic),
		kgo.MaxBufferedRecords(bufferedRecords),
		kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return err
	}
	value := make([]byte, recordBytes)
	for at := range value {
		value[at] = byte(at * 31 % 251)
	}
	var first atomic.Pointer[error]
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			count.failed.Add(1)
			first.CompareAndSwap(nil, &err)
			return
		}
		count.add(1, time.Now())
	}
	for sent := 0; sent%1024 != 0 || time.Now().Before(count.until); sent++ {
		client.Produce(context.Background(), kgo.SliceRecord(value), done)
	}
	if err := client.Flush(context.Background()); err != nil {
		return err
	}
	if failed := first.Load(); failed != nil {
		return *failed
	}
	return nil
}

// consume reads all partitions, again from the beginning when one of them is at its end.
func consume(count *counter) error {
	start := make(map[int32]kgo.Offset, *partitions)
	for partition := range *partitions {
		start[int32(partition)] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(*address),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{*topic: start}),
	)
	if err != nil {
		return err
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(context.Background(), *topic)
	if err != nil {
		return err
	}
	for {
		fetches := client.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			return err
		}
		if !count.add(fetches.NumRecords(), time.Now()) {
			return nil
		}
		again := make(map[int32]kgo.EpochOffset)
		fetches.EachPartition(func(part kgo.FetchTopicPartition) {
			end, found := ends.Lookup(*topic, part.Partition)
			if len(part.Records) > 0 && found && part.Records[len(part.Records)-1].Offset+1 >= end.Offset {
				again[part.Partition] = kgo.EpochOffset{Epoch: -1, Offset: 0}
			}
		})
		if len(again) > 0 {
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{*topic: again})
		}
	}
}
