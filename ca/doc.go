// Package ca is a cluster's own certificate authority: it makes the certificates by which the nodes of one
// cluster know each other, and reads them.
//
// An [Authority] stands for one cluster. It signs, and has a secret from which the key of the cluster's gossip
// is derived. It lives in a directory that no node needs and that should be on none of them: ca.crt, ca.key
// and gossip.secret. From it [Authority.Issue] makes an [Identity] for each node and for each machine that
// drives the cluster, a directory of its own: ca.crt, node.crt, node.key and gossip.key.
//
// # Names
//
// A certificate belongs to one node of one cluster, which it names in a URI: orrery:CLUSTER/NODE. A URI says
// both, exactly: the names are compared byte by byte, where names of hosts would be compared without regard
// to case and could hold wildcards. No host or address is named, so that a node may move. The one DNS name,
// which all certificates share, is [ServerName]: it lets crypto/tls verify both ends by its own rules, to
// which the transport then adds who it is that was verified.
//
// A node is called what its certificate says. Commands that join a cluster for a while, of which several may
// run on one machine with one certificate, are called by that name, a plus sign and something random
// ([Name.Session]): a certificate entitles to those names too. A name with a plus sign is never issued.
//
// # Trust
//
// Only the authorities in an identity's own ca.crt are trusted, never the system's. An identity may trust a
// second authority of the same cluster and read gossip under its key, so that a cluster can pass from one
// authority to the next while it runs. There is no list of revoked certificates: who must not come back is
// left behind with the old authority.
package ca
