// Package calibrate measures what predictions need: of a node, how fast its device runs the kernels that
// a decoder uses; of a pair of nodes, how long an exchange takes and how many bytes/s get through; of the
// nodes of a machine, how they share its memory and caches.
//
// A link is measured over lanes of package transport, as steps use them: the node that measures calls
// [MeasureLink], the one at the other end an [Echo]'s Serve. Devices that exchange by themselves have a measurement of their own,
// [MeasureExchange] and an [ExchangeEcho]. Nodes of a machine are measured over such lanes, too: who directs them calls [Sit], and each
// has a [Seat].
package calibrate
