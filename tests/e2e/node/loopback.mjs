// Preloaded into a server that has no option for it: what would listen everywhere listens on loopback only.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {
  if (typeof port !== "object" && typeof host !== "string") {
    return listen.call(this, port, "127.0.0.1", ...[host, ...rest].filter((each) => typeof each === "function"));
  }
  return listen.call(this, port, host, ...rest);
};
