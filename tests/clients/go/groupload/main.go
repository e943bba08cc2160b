// Command groupload is many members of groups in one process, by frames of their own: no fetches,
// one connection for each member, so that what costs is the coordinator.
//
// It obeys the language of the drivers: open, join, kill, leave, commit, idle, close.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"klamm.example/clients/driver"
)

// patience is the longest time until all groups are stable.
const patience = 80 * time.Second

type load struct {
	bootstrap string
	options   options
	lock      sync.Mutex
	changed   *sync.Cond
	groups    []*group
}

// options of a load, in the field records of its first command.
type options struct {
	Groups           int    `json:"groups"`
	Members          int    `json:"members"`
	Protocol         string `json:"protocol"`
	Topic            string `json:"topic"`
	Partitions       int    `json:"partitions"`
	Prefix           string `json:"prefix"`
	HeartbeatMs      int    `json:"heartbeat_ms"`
	SessionTimeoutMs int    `json:"session_timeout_ms"`
}

// group is what its members say of it; under the lock of the load.
type group struct {
	name    string
	members []member
	next    int
	// joined says how many members the leader of a generation was told of.
	joined map[int32]int
	failed error
}

// member is one connection and its loop.
type member interface {
	// state gives generation (or epoch) and how many partitions it has.
	state() (int32, int)
	// commit one offset.
	commit() error
	// stop ends the loop, after leaving or without a word.
	stop(leave bool)
}

func main() {
	l := &load{bootstrap: os.Args[1]}
	l.changed = sync.NewCond(&l.lock)
	driver.Run(driver.Hello{Client: "groupload", Codecs: []string{}}, driver.Operations{
		"open": l.open,
		"join": func(*driver.Command) (any, error) { return l.change(l.join) },
		"kill": func(*driver.Command) (any, error) {
			return l.change(func(g *group) error { return l.remove(g, false) })
		},
		"leave":  func(*driver.Command) (any, error) { return l.change(func(g *group) error { return l.remove(g, true) }) },
		"commit": l.commit,
		"idle":   l.idle,
		"close":  l.close,
	}, func(err error) string { return driver.Root(err).Error() })
}

func (l *load) open(c *driver.Command) (any, error) {
	if err := json.Unmarshal(c.At, &l.options); err != nil {
		return nil, err
	}
	if err := l.findCoordinator(); err != nil {
		return nil, err
	}
	for i := range l.options.Groups {
		name := fmt.Sprintf("%s-%d", l.options.Prefix, i)
		l.groups = append(l.groups, &group{name: name, joined: map[int32]int{}})
	}
	begun := time.Now()
	for range l.options.Members {
		for _, g := range l.groups {
			if err := l.join(g); err != nil {
				return nil, err
			}
		}
	}
	return l.settled(begun)
}

// change does something to every tenth group (or to the only one) and gives the mean of the times
// until each is stable again.
//
// The groups' turns are spread over a heartbeat's interval: members learn of a change by their next
// heartbeat, so that a single group's time would tell little but when that one was due.
func (l *load) change(what func(*group) error) (any, error) {
	var all sync.WaitGroup
	changed := max(1, len(l.groups)/10)
	heartbeat := time.Duration(l.options.HeartbeatMs) * time.Millisecond
	took, failed := make([]time.Duration, changed), make([]error, changed)
	for i, g := range l.groups[:changed] {
		all.Go(func() {
			time.Sleep(heartbeat * time.Duration(i) / time.Duration(changed))
			begun := time.Now()
			if failed[i] = what(g); failed[i] == nil {
				took[i], failed[i] = l.settle(begun, []*group{g})
			}
		})
	}
	all.Wait()
	var sum time.Duration
	for _, one := range took {
		sum += one
	}
	return milliseconds(sum / time.Duration(changed)), errors.Join(failed...)
}

func (l *load) join(g *group) error {
	conn, err := connect(l.bootstrap)
	if err != nil {
		return err
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	var m member
	if l.options.Protocol == "consumer" {
		m = newConsumer(l, g, conn)
	} else {
		m = newClassic(l, g, conn, fmt.Sprintf("load-%d", g.next))
	}
	g.next++
	g.members = append(g.members, m)
	return nil
}

func (l *load) remove(g *group, leave bool) error {
	l.lock.Lock()
	// The first is the leader of a classic group; the last is anybody.
	m := g.members[len(g.members)-1]
	g.members = g.members[:len(g.members)-1]
	l.lock.Unlock()
	m.stop(leave)
	return nil
}

// update is how members change what others look at.
func (l *load) update(what func()) {
	l.lock.Lock()
	defer l.lock.Unlock()
	what()
	l.changed.Broadcast()
}

// settle waits until all of the groups are stable and gives the time from begun until then.
func (l *load) settle(begun time.Time, groups []*group) (time.Duration, error) {
	timer := time.AfterFunc(patience, l.changed.Broadcast)
	defer timer.Stop()
	l.lock.Lock()
	defer l.lock.Unlock()
	for {
		stable := 0
		for _, g := range groups {
			if g.failed != nil {
				return 0, g.failed
			}
			if l.isStable(g) {
				stable++
			}
		}
		if stable == len(groups) {
			return time.Since(begun), nil
		}
		if time.Since(begun) > patience {
			return 0, fmt.Errorf("only %d of %d groups are stable", stable, len(groups))
		}
		l.changed.Wait()
	}
}

// settled answers with the time until all groups are stable.
func (l *load) settled(begun time.Time) (any, error) {
	took, err := l.settle(begun, l.groups)
	return milliseconds(took), err
}

func milliseconds(took time.Duration) map[string]float64 {
	return map[string]float64{"milliseconds": float64(took.Microseconds()) / 1e3}
}

// isStable says whether all members of a group are of one generation, each with its fair share of
// the partitions, and nobody else is in it.
//
// The share matters: a coordinator that puts assignments off has a moment at which the first member
// has everything, and the others, of the same epoch, wait for theirs.
func (l *load) isStable(g *group) bool {
	first, _ := g.members[0].state()
	sum, share := 0, l.options.Partitions/len(g.members)
	for _, m := range g.members {
		generation, partitions := m.state()
		if generation != first || generation <= 0 || partitions < share {
			return false
		}
		sum += partitions
	}
	known, classic := g.joined[first]
	return sum == l.options.Partitions && (!classic || known == len(g.members))
}

// commit lets every member commit one offset, all at once.
func (l *load) commit(*driver.Command) (any, error) {
	begun := time.Now()
	var all sync.WaitGroup
	failures := make(chan error, l.options.Groups*l.options.Members+1)
	for _, g := range l.groups {
		for _, m := range g.members {
			all.Go(func() {
				if err := m.commit(); err != nil {
					failures <- err
				}
			})
		}
	}
	all.Wait()
	close(failures)
	var failed []error
	for err := range failures {
		failed = append(failed, err)
	}
	return map[string]int64{"milliseconds": time.Since(begun).Milliseconds()}, errors.Join(failed...)
}

// idle is heartbeats and nothing else, for `before` milliseconds.
func (l *load) idle(c *driver.Command) (any, error) {
	time.Sleep(time.Duration(c.Before) * time.Millisecond)
	return l.settled(time.Now())
}

func (l *load) close(*driver.Command) (any, error) {
	var all sync.WaitGroup
	for _, g := range l.groups {
		for _, m := range g.members {
			all.Go(func() { m.stop(true) })
		}
	}
	all.Wait()
	l.groups = nil
	return driver.Empty, nil
}
