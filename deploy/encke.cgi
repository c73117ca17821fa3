#!/usr/bin/cgi-fcgi -f
#
# Encke where there is only CGI. Put this where CGI programs live (cgi-bin/), executable; it needs
# cgi-fcgi (Debian: libfcgi-bin). Encke is then at /cgi-bin/encke.cgi/create, .../update and so on,
# and the daemon still runs by itself, as the same user or one whose socket this one may open:
#
#   encke --socket /run/encke/encke.sock --db /var/lib/encke/encke.db
#
# What it costs: one small process (this one) for every request held, and what the web server
# needs beside it. That is fine for some dozens of readers, not for thousands: see nginx/ or
# lighttpd/ beside this. The web server must let a CGI program run for longer than --hold (Apache: Timeout).
# A browser that goes away may keep its process until the hold ends; lighttpd can be told to end it:
# cgi.limits = ( "tcp-fin-propagate" => "SIGTERM" ).
#
# Do not let cgi-fcgi start the daemon (-start, or -connect with a program): two requests at once
# would start two, and the one that is refused by the log has taken the socket's name by then.
-bind -connect /run/encke/encke.sock
