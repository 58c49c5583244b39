package transport

import (
	"errors"
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	orrery "github.com/orrery-ai/orrery/proto"
)

// protoactorPackage is the protobuf package of protoactor's own messages. One of them, as a user
// message, can stop an actor (PoisonPill), so they do not cross between nodes. The exception tells a
// requester that there is nobody to answer.
const (
	protoactorPackage = "actor"
	deadLetterName    = "actor.DeadLetterResponse"
)

// mayCross says whether messages of a type may go from node to node.
func mayCross(name protoreflect.FullName) bool {
	return name.Parent() != protoactorPackage || name == deadLetterName
}

// encodeUser makes the frame that carries a message to an actor of another node.
func encodeUser(target, sender *actor.PID, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is not a protobuf message", message)
	}
	name := proto.MessageName(m)
	if !mayCross(name) {
		return nil, fmt.Errorf("%s does not leave its node", name)
	}
	payload, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	env := &orrery.Envelope{Target: target.Id, Type: string(name), Payload: payload}
	if sender != nil {
		env.SenderNode, env.Sender = sender.Address, sender.Id
	}
	return encodeEnvelope(env)
}

// encodeEnvelope makes the frame of an envelope, header included.
func encodeEnvelope(env *orrery.Envelope) ([]byte, error) {
	n := proto.Size(env)
	if n > maxEnvelope {
		return nil, fmt.Errorf("a message of %d bytes, the largest allowed is %d", n, maxEnvelope)
	}
	b := make([]byte, headerBytes, headerBytes+n)
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, env)
	if err != nil {
		return nil, err
	}
	header{kind: frameEnvelope, length: uint32(n), total: uint32(n)}.put(b)
	return b, nil
}

// decodeEnvelope is the other direction of encodeEnvelope, without the header. It checks what does not
// depend on this node's actors.
func decodeEnvelope(b []byte) (*orrery.Envelope, error) {
	env := new(orrery.Envelope)
	if err := proto.Unmarshal(b, env); err != nil {
		return nil, protocolError("bad envelope: %v", err)
	}
	if env.Target == "" {
		return nil, protocolError("an envelope without a target")
	}
	if (env.Sender == "") != (env.SenderNode == "") {
		return nil, protocolError("an envelope with half a sender")
	}
	if env.Sender != "" {
		if err := checkName("node", env.SenderNode); err != nil {
			return nil, protocolError("envelope: %v", err)
		}
	}
	if env.Sender == "" && env.Kind != orrery.Envelope_USER {
		return nil, protocolError("an envelope of kind %s without a sender", env.Kind)
	}
	return env, nil
}

// decodeMessage is the message in an envelope of kind USER.
func decodeMessage(env *orrery.Envelope) (proto.Message, error) {
	name := protoreflect.FullName(env.Type)
	if !name.IsValid() || !mayCross(name) {
		return nil, protocolError("a message of type %.140q may not come from another node", env.Type)
	}
	t, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if errors.Is(err, protoregistry.NotFound) {
		return nil, protocolError("a message of unknown type %s", name)
	}
	if err != nil {
		return nil, protocolError("message type %s: %v", name, err)
	}
	m := t.New().Interface()
	if err := proto.Unmarshal(env.Payload, m); err != nil {
		return nil, protocolError("bad message of type %s: %v", name, err)
	}
	return m, nil
}
