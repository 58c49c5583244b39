// Package fault damages connections on purpose: it delays, stalls, reorders, truncates and changes what nodes
// send each other, and cuts connections, as a script says. Tests use it, and orrery node does if it is asked to.
//
// An [Injector] stands between an endpoint and the connections that it dials: its Dial goes into
// transport.Config.Dial. Each connection then leads over a relay in this process, by way of a loopback connection, so
// that both ends work with ordinary sockets. Its Share, in transport.Config.Share, does the same with the shared
// memory to which connections of one machine move: there frames and bytes are counted anew. Since of two nodes the
// one that sends dials, all lanes and actor messages of a node to the others can be reached, and the credits that
// come back.
//
// # Scripts
//
// A script is rules, separated by semicolons or line ends. What follows # on a line is a comment.
//
//	after 3 frames of partial: delay 20ms
//	after 1MiB on bulk: flip bit; at 2s to n1: cut
//
// A rule has a trigger, what it is about, and a fault. In this grammar [] may be left out, and {} be repeated:
//
//	script  = rule { ";" rule }
//	rule    = [ "each" ] trigger { where } ":" fault
//	trigger = "at" DURATION                           since the connection was made
//	        | "after" COUNT ( "frame" | "frames" )    that have passed
//	        | "after" SIZE                            that has passed, in whole frames
//	where   = "of" PURPOSE                            frames of the lanes of a purpose, or "control"
//	        | "to" NODE                               connections with a node
//	        | "on" CLASS                              connections of a class: control, small or bulk
//	        | "back"                                  what comes back: credits, refusals and the other's hello
//	fault   = "delay" DURATION                        from now on everything is so much later
//	        | "stall" DURATION                        nothing moves for so long
//	        | "reorder" COUNT                         the frames of a lane wait until so many of others have passed
//	        | "truncate"                              half of a frame passes, then the connection is closed
//	        | "flip" ( "bit" | COUNT "bits" )         bits of a frame change
//	        | "cut"                                   the connection is reset
//	        | "half-open"                             nothing passes any more, and neither end is told
//	DURATION = as Go writes them: 20ms, 1.5s
//	SIZE     = a whole number and B, KiB, MiB or GiB
//	PURPOSE  = step, hidden, query, partial, kv-move, kv-ring, result, probe or control
//
// Frames and bytes are counted on each connection, from its beginning, those that "of" names or all. A rule
// acts once: on the first connection on which its time has come. With each it acts once on every connection.
//
// A delay, a stall, a cut and half-open take effect as soon as the trigger has come. Reorder, truncate and flip
// wait for a frame that the rule is about. Half-open holds in the direction of the rule, and a reordered lane
// is held back for at most 200 ms, for the others may have nothing to say.
//
// # What cannot be done
//
// Under TLS frames cannot be told apart: rules that count frames or name a purpose then do nothing, which
// is logged; "after SIZE" counts what passes as it comes. Connections that move to RDMA leave the relay.
package fault
