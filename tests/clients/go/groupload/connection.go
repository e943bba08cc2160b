package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// connection does one request after the other.
type connection struct {
	lock   sync.Mutex
	socket net.Conn
	format *kmsg.RequestFormatter
	number int32
}

func connect(address string) (*connection, error) {
	socket, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("groupload"))
	return &connection{socket: socket, format: format}, nil
}

func (c *connection) ask(version int16, request kmsg.Request) (kmsg.Response, error) {
	request.SetVersion(version)
	c.lock.Lock()
	defer c.lock.Unlock()
	c.number++
	if _, err := c.socket.Write(c.format.AppendRequest(nil, request, c.number)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.socket, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.socket, frame); err != nil {
		return nil, err
	}
	if number := int32(binary.BigEndian.Uint32(frame)); number != c.number {
		return nil, fmt.Errorf("answer %d to request %d", number, c.number)
	}
	response := request.ResponseKind()
	response.SetVersion(version)
	body := frame[4:]
	if response.IsFlexible() {
		// No field has a tag in the header of an answer.
		if body[0] != 0 {
			return nil, errors.New("tagged fields in the header of an answer")
		}
		body = body[1:]
	}
	return response, response.ReadFrom(body)
}

// findCoordinator waits until there is one: Apache Kafka makes its topic when first asked.
func (l *load) findCoordinator() error {
	conn, err := connect(l.bootstrap)
	if err != nil {
		return err
	}
	defer conn.socket.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorKeys = []string{l.options.Prefix}
		answer, err := conn.ask(4, request)
		if err != nil {
			return err
		}
		found := answer.(*kmsg.FindCoordinatorResponse).Coordinators[0]
		if found.ErrorCode == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return kerr.ErrorForCode(found.ErrorCode)
		}
	}
}

// retries says whether the coordinator is just not there yet.
func retries(code int16) bool {
	switch kerr.TypedErrorForCode(code) {
	case kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator:
		return true
	}
	return false
}
