// Package dns serves classes of DNS rules: it judges each question by the name that is asked
// for, and passes the bytes of questions and answers on as they are. In: datagrams and
// connections of clients, from package proxy. Out: verdicts, and what allowed answers say of
// names that policies allow by ([Answer]).
//
// Messages are read by golang.org/x/net/dns/dnsmessage, which follows compression without
// loops and refuses labels with dots in them. A question that it cannot read is never passed
// on, nor is an answer that belongs to no question.
package dns
