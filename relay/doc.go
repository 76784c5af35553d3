// Package relay serves the flows of all nodes as one Hubble server.
//
// In go the nodes and how to be believed by them. Each question is asked of every node at
// once; out come their answers, flows merged in the order of their times. A node that is
// dead or too slow is named, and holds nobody else up. What waits to be put in order is
// bounded, and so is what one client may ask: a client that reads slowly slows the nodes'
// streams, and they say what they had to drop.
package relay
