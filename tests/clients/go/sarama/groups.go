package main

import (
	"github.com/IBM/sarama"

	"klamm.example/clients/driver"
)

func (d *driven) listGroups(*driver.Command) (any, error) {
	listed, err := d.admin.ListConsumerGroups()
	if err != nil {
		return nil, err
	}
	groups := []driver.GroupListing{}
	for group, protocolType := range listed {
		groups = append(groups, driver.GroupListing{Group: group, ProtocolType: protocolType})
	}
	return groups, nil
}

func (d *driven) describeGroup(c *driver.Command) (any, error) {
	described, err := d.admin.DescribeConsumerGroups([]string{c.Group})
	if err != nil {
		return nil, err
	}
	group := described[0]
	if group.Err != sarama.ErrNoError {
		return nil, group.Err
	}
	info := driver.GroupInfo{State: group.State, Assignor: group.Protocol, Members: []driver.GroupMember{}}
	for _, m := range group.Members {
		member := driver.GroupMember{
			MemberID: m.MemberId, Instance: m.GroupInstanceId, ClientID: m.ClientId, Host: m.ClientHost,
		}
		assigned, err := m.GetMemberAssignment()
		if err != nil {
			return nil, err
		}
		if assigned != nil {
			for topic, partitions := range assigned.Topics {
				member.Assign(topic, partitions...)
			}
		}
		info.Members = append(info.Members, member)
	}
	return info, nil
}

func (d *driven) deleteGroup(c *driver.Command) (any, error) {
	return driver.Empty, d.admin.DeleteConsumerGroup(c.Group)
}

func (d *driven) groupOffsets(c *driver.Command) (any, error) {
	answer, err := d.admin.ListConsumerGroupOffsets(c.Group, nil)
	if err != nil {
		return nil, err
	}
	offsets := [][4]any{}
	for topic, partitions := range answer.Blocks {
		for partition, block := range partitions {
			if block.Err != sarama.ErrNoError {
				return nil, block.Err
			}
			offsets = append(offsets, [4]any{topic, partition, block.Offset, block.Metadata})
		}
	}
	return offsets, nil
}

func (d *driven) alterGroupOffsets(c *driver.Command) (any, error) {
	offsets := map[int32]sarama.OffsetAndMetadata{}
	for _, pair := range c.Offsets {
		offsets[int32(pair[0])] = sarama.OffsetAndMetadata{Offset: pair[1], LeaderEpoch: -1}
	}
	wanted := map[string]map[int32]sarama.OffsetAndMetadata{c.Topic: offsets}
	answer, err := d.admin.AlterConsumerGroupOffsets(c.Group, wanted, nil)
	if err != nil {
		return nil, err
	}
	for _, partitions := range answer.Errors {
		for _, failed := range partitions {
			if failed != sarama.ErrNoError {
				return nil, failed
			}
		}
	}
	return driver.Empty, nil
}

func (d *driven) deleteGroupOffsets(c *driver.Command) (any, error) {
	return driver.Empty, d.admin.DeleteConsumerGroupOffset(c.Group, c.Topic, c.Partition)
}
