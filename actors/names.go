package actors

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
)

// nodeID is the id of every node's Node actor.
const nodeID = "node"

// NodePID is the Node actor of a node.
func NodePID(node string) *actor.PID { return actor.NewPID(node, nodeID) }

func layerShardName(model uint64) string { return fmt.Sprintf("m%x", model) }

func layerShardPID(node string, model uint64) *actor.PID {
	return actor.NewPID(node, nodeID+"/"+layerShardName(model))
}

func sequenceShardName(seq uint64) string { return fmt.Sprintf("s%d", seq) }

func sequenceShardPID(node string, model, seq uint64) *actor.PID {
	return actor.NewPID(node, nodeID+"/"+layerShardName(model)+"/"+sequenceShardName(seq))
}

func conductorName(model uint64) string { return fmt.Sprintf("conductor-%x", model) }
