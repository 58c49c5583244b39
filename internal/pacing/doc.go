// Package pacing takes TCP connections off congestion controls that pace: that hold segments back so as not
// to exceed a rate that they have estimated.
//
// Who sends no more than a window, and then waits to hear of the other end, is measured by such a control at the
// rate that his waits allow, which is less than the path's; that becomes the limit, for as long as the connection
// lasts. With BBR, the default of some systems, two processes of one machine moved 1 MiB messages at half
// the speed in some runs and not in others. The window itself bounds what may be queued on the way.
package pacing
