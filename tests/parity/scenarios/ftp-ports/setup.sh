ipvsadm -A -t 192.0.2.10:21 -s rr
ipvsadm -a -t 192.0.2.10:21 -r 198.51.100.11:21 -m
ipvsadm -A -t 192.0.2.11:21 -s rr -p 60
ipvsadm -A -t 192.0.2.12:21 -s rr -p 60
ipvsadm -a -t 192.0.2.12:21 -r 198.51.100.12:21 -g
