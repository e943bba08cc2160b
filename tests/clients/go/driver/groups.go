package driver

// GroupListing is one group of list_groups.
type GroupListing struct {
	Group        string  `json:"group"`
	State        *string `json:"state"`
	Type         *string `json:"type"`
	ProtocolType string  `json:"protocol_type"`
}

// GroupMember is one member of a described group.
type GroupMember struct {
	MemberID   string   `json:"member_id"`
	Instance   *string  `json:"instance"`
	ClientID   string   `json:"client_id"`
	Host       string   `json:"host"`
	Assignment [][2]any `json:"assignment"`
}

// GroupInfo answers describe_group.
type GroupInfo struct {
	State    string        `json:"state"`
	Type     *string       `json:"type"`
	Assignor string        `json:"assignor"`
	Members  []GroupMember `json:"members"`
}

// Assign adds the partitions of one topic.
func (m *GroupMember) Assign(topic string, partitions ...int32) {
	for _, partition := range partitions {
		m.Assignment = append(m.Assignment, [2]any{topic, partition})
	}
}
