ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.11:53 -s wrr
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.18:53 -m -w 1
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.11:53 -m -w 1
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.16:0 -m -w 5
ipvsadm -a -t 192.0.2.11:53 -r 198.51.100.17:53 -m -w 2
ipvsadm -A -t 192.0.2.10:80 -s nq
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.17:80 -m -w 3
ipvsadm -a -t 192.0.2.10:80 -r 198.51.100.18:80 -m -w 2
