sysctl -w net.ipv4.vs.expire_nodest_conn=1
ipvsadm -A -t 192.0.2.10:80 -s rr
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.11:80 -m -w 1
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.12:80 -m -w 1
ipvsadm -A -t 192.0.2.10:81 -s rr -p 300
ipvsadm -a -t 192.0.2.10:81 -r 198.51.100.11:81 -m
ipvsadm -a -t 192.0.2.10:81 -r 198.51.100.12:81 -m
ipvsadm -A -u 192.0.2.10:53 -s rr
ipvsadm -a -u 192.0.2.10:53 -r 198.51.100.13:53 -g
