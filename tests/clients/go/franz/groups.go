package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"

	"klamm.example/clients/driver"
)

func (f *franz) listGroups(*driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	groups := []driver.GroupListing{}
	for _, kind := range []string{"Classic", "Consumer"} {
		listed, err := f.admin.ListGroupsByType(ctx, []string{kind})
		if err != nil {
			return nil, err
		}
		for _, group := range listed.Sorted() {
			groups = append(groups, driver.GroupListing{
				Group: group.Group, State: &group.State, Type: &kind, ProtocolType: group.ProtocolType,
			})
		}
	}
	return groups, nil
}

func (f *franz) describeGroup(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	if c.Protocol == "consumer" {
		return f.describeConsumerGroup(ctx, c.Group)
	}
	described, err := f.admin.DescribeGroups(ctx, c.Group)
	if err != nil {
		return nil, err
	}
	group := described[c.Group]
	info := driver.GroupInfo{State: group.State, Assignor: group.Protocol, Members: []driver.GroupMember{}}
	for _, m := range group.Members {
		member := driver.GroupMember{
			MemberID: m.MemberID, Instance: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost,
		}
		if assigned, is := m.Assigned.AsConsumer(); is {
			for _, topic := range assigned.Topics {
				member.Assign(topic.Topic, topic.Partitions...)
			}
		}
		info.Members = append(info.Members, member)
	}
	return info, group.Err
}

func (f *franz) describeConsumerGroup(ctx context.Context, name string) (any, error) {
	described, err := f.admin.DescribeConsumerGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	group, kind := described[name], "consumer"
	info := driver.GroupInfo{
		State: group.State, Type: &kind, Assignor: group.AssignorName, Members: []driver.GroupMember{},
	}
	for _, m := range group.Members {
		member := driver.GroupMember{
			MemberID: m.MemberID, Instance: m.InstanceID, ClientID: m.ClientID, Host: m.ClientHost,
		}
		for _, topic := range m.Assignment.Sorted() {
			member.Assign(topic.Topic, topic.Partitions...)
		}
		info.Members = append(info.Members, member)
	}
	return info, group.Err
}

func (f *franz) deleteGroup(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	answer, err := f.admin.DeleteGroup(ctx, c.Group)
	if err != nil {
		return nil, err
	}
	return driver.Empty, answer.Err
}

func (f *franz) groupOffsets(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	answers, err := f.admin.FetchOffsets(ctx, c.Group)
	if err != nil {
		return nil, err
	}
	offsets := [][4]any{}
	for _, o := range answers.Sorted() {
		if o.Err != nil {
			return nil, o.Err
		}
		offsets = append(offsets, [4]any{o.Topic, o.Partition, o.At, o.Metadata})
	}
	return offsets, nil
}

func (f *franz) alterGroupOffsets(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	var offsets kadm.Offsets
	for _, pair := range c.Offsets {
		offsets.AddOffset(c.Topic, int32(pair[0]), pair[1], -1)
	}
	return driver.Empty, f.admin.CommitAllOffsets(ctx, c.Group, offsets)
}

func (f *franz) deleteGroupOffsets(c *driver.Command) (any, error) {
	ctx, cancel := patient()
	defer cancel()
	wanted := kadm.TopicsSet{}
	wanted.Add(c.Topic, c.Partition)
	answers, err := f.admin.DeleteOffsets(ctx, c.Group, wanted)
	if err != nil {
		return nil, err
	}
	return driver.Empty, answers[c.Topic][c.Partition]
}
