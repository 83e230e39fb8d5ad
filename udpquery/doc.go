// Package udpquery asks light servers by UDP whether they have a slot, before a
// connection by TCP is tried, and answers such questions.
//
// A capacity query costs one round trip. It saves a TCP connection, an
// encryption handshake and a protocol handshake with a server that is full.
// [Client] asks, [Server] answers for its services; both speak the messages that
// servers and clients out there speak: batches of requests in RLP inside discv5's
// TALKREQ and TALKRESP, protocol id "vfx".
//
// # Asking
//
//	client, err := udpquery.NewClient(discv5, udpquery.ClientConfig{})
//	switch client.Ask(ctx, node) {
//	case udpquery.Yes:     // a slot is free: dial
//	case udpquery.Unasked: // the server takes no queries: dial and see
//	case udpquery.No:      // full
//	case udpquery.Silent:  // no answer
//	}
//
// A node's record tells whether it takes queries ([LesEntry]); a node without a
// record, known by its URL only, is asked for it first. Answers are remembered
// for a few seconds, and questions to one node at the same time are one.
// [Client.Query] is the same in the form that older code has, [Client.Send] sends
// requests of any kind.
//
// A question ends with its context, with the configured timeout or with Close,
// whichever is first. The transport's call takes no context: a goroutine waits
// for it, at most one per node for questions, and ends when the transport
// returns.
//
// # Answering
//
//	server := udpquery.NewServer(10 * time.Millisecond)
//	err := server.Register(pool, "les", "light client service")
//	discv5.RegisterTalkHandler(udpquery.ProtocolID, server.ServeNode)
//
// Each request of a batch gets a reply of its own, empty if there is none: an
// unknown service, parameters that the service does not take, a service that
// panics. The batch as a whole stays unanswered if it is malformed, empty or of
// more than 16 requests, and when there is too much to do. In front of the
// services a limiter decides who is served, fairly between network addresses
// (IPv4 addresses, IPv6 /64 networks) and then between the nodes of an address,
// with half of the time reserved for nodes of value ([Valuer]). Whatever is not
// served within 400 ms is dropped; nothing in the handler sleeps.
//
// # Concurrency
//
// All methods of Client and Server may be called concurrently. Services are never
// called concurrently by one Server. Each has one lock; neither calls out while
// it holds it, so there is no order between them. From its first batch on a Server
// runs one goroutine until Stop; a Client keeps up to four between questions until
// Close. Messages and numbers
// ([Requests], [IntOrInf] …) are plain values.
//
// # Hostile input
//
// Nothing that comes by the network makes the package panic or take more than a
// few times the memory of the message. The memory of the limiter is bounded by
// 1,000 waiting requests and 1,000 remembered offenders.
package udpquery
